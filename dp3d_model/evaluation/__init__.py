"""How good lifted bodies are, with and without truth."""
