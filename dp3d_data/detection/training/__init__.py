"""Training and evaluation of CSE networks on synthetic images of a template."""
