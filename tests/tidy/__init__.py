"""The rules of the code as tests: a failing message names the place and what to write instead."""
