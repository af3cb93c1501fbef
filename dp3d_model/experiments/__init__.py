"""Experiments: many runs and measurements in order, each found again when the same command is given twice."""
