"""Fault injection by policy: the policies, where they come from, and who is told of them.

The engine injects the faults (`native/policy/src/fault`); nothing here decides about a request.
"""

from gatewayx.chaos.book import Applied, PolicyBook, RoomError
from gatewayx.chaos.load import load_policies, policies_of
from gatewayx.chaos.model import Policy

__all__ = ["Applied", "Policy", "PolicyBook", "RoomError", "load_policies", "policies_of"]
