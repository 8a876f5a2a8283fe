"""The primitives as users meet them: threads, coroutines and processes."""
