"""How good lifted bodies are, with and without truth."""

__all__ = ["evaluator", "quality", "report"]  # modules, as in `training`
