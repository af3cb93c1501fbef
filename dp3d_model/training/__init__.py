"""Training of the lifter: batches, augmentation, optimiser, log, trainer."""

__all__ = ["augmentation", "instances", "trainer"]  # modules: `lifting` and `evaluation` need them, and are needed by them
