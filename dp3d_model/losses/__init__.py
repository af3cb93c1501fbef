"""Losses of the lifter, and their weighted sum."""
