"""House rules: what must hold of every file, whoever wrote it."""
