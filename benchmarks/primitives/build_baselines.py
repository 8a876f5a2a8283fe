"""Builds the Cython baselines beside their source, when it has changed.

`python benchmarks/primitives/build_baselines.py`; the benchmarks do it by themselves.
"""

import importlib.machinery
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "baselines_cy.pyx"
EXTENSION = SOURCE.with_name("baselines_cy" + sysconfig.get_config_vars()["EXT_SUFFIX"])
assert EXTENSION.name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))


def build() -> None:
    """Compiles with -O3, so that the comparison is fair."""
    if EXTENSION.exists() and EXTENSION.stat().st_mtime >= SOURCE.stat().st_mtime:
        return
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extension = Extension("baselines_cy", [str(SOURCE)], extra_compile_args=["-O3"])
    build_dir = HERE / "build"
    modules = cythonize([extension], build_dir=str(build_dir), quiet=True)
    command = build_ext(Distribution({"ext_modules": modules}))
    command.build_lib = str(HERE)
    command.build_temp = str(build_dir)
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    build()
    sys.stdout.write(f"{EXTENSION}\n")
