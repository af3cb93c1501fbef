"""Timings: run by hand, not part of the checks."""
