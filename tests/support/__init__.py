"""Real peers for the tests: recording and scripted upstreams, raw callers, running gateways."""
