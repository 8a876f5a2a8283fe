"""GatewayX: a hardened HTTP gateway for fragile back ends."""
