"""The whole gateway on real sockets, between a scripted upstream and callers that write bytes."""
