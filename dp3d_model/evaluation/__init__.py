"""How good lifted bodies are, with and without truth."""

__all__ = ["evaluator", "metrics"]  # modules, as in `training`
