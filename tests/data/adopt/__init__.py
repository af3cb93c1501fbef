"""Adopting a template: landmarks, functional maps, the field, the new weights."""
