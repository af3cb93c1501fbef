"""Trained models at work: files of models, prediction, test-time optimisation."""

__all__ = ["model_file", "prediction", "test_time"]  # modules, as in `training`
