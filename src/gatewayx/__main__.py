"""`python -m gatewayx` is `gatewayx`."""

from gatewayx.cli import main

main()
