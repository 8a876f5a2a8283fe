"""GatewayX beside nginx, HAProxy and Envoy: the CPU that one request costs each of them.

`python -m benchmarks.proxy --help`; how to read the result is in `benchmarks/README.md`.

Arrows: `__main__` -> {`report`, `perf`} -> `measurement` -> {`peers`, `load`} -> {`definitions`,
`processes`}.
"""
