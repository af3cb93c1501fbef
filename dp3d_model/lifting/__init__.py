"""Trained models at work: files of models, prediction, test-time optimisation."""
