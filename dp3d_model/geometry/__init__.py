"""The template as tensors, cameras and rotations."""
