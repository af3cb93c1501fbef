"""Lifting: from the visible vertices of an instance to its whole body in three dimensions (DensePose 3D)."""
