"""The command line: arguments in, calls out, an exit status back.

Exit status: 0 done, 1 failed, 2 wrong use or wrong configuration. A command imports what it needs
when it runs, so that a quick command stays quick.
"""

from gatewayx.cli.program import main

__all__ = ["main"]
