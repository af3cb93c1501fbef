"""Slow twins: for each kernel a loop that nobody can doubt, one file per room."""
