"""Serving: the engine on a loop, the worker process around it, the supervisor above."""
