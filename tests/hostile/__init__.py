"""Hostile HTTP/1.1: cases as data, a runner that plays them against a real gateway, its
verdicts."""
