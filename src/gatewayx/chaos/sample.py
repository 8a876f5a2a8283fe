"""Which requests a percentage hits, where that is not left to chance.

The rule is the same in the gateway and in the Envoy plugin, and this is how it reads:

- A number of 64 bits is drawn for the request. It is hit when the number is below
  `percentage / 100 * 2**64`; 100 hits every number.
- With `seed`, the n-th request that matches (from 0, over all workers) draws the n-th output of
  SplitMix64 started with the seed.
- With `sample_by`, a request draws `mix(fnv1a64(value) ^ seed)`, where `mix` is SplitMix64's output
  function and a seed that is not given is 0; without the field it is spared.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _fnv1a64(value: bytes) -> int:
    found = 0xCBF29CE484222325
    for byte in value:
        found = ((found ^ byte) * 0x100000001B3) & _MASK
    return found


def nth_draw(seed: int, n: int) -> int:
    """What the n-th matching request draws, from 0."""
    return _mix((seed + (n + 1) * _GOLDEN) & _MASK)


def value_draw(seed: int, value: bytes) -> int:
    """What a request with this header value draws."""
    return _mix(_fnv1a64(value) ^ seed)


def is_hit(percentage: float, draw: int) -> bool:
    """Whether a draw lies within the share."""
    return percentage >= 100 or draw < int(percentage / 100 * 2.0**64)
