"""Lifted bodies as meshes, rigs, tables and pictures."""
