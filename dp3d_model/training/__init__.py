"""Training of the lifter: batches, augmentation, optimiser, log, trainer."""

__all__ = ["augmentation", "trainer"]  # modules: `lifting` and `evaluation` need them, and are needed by them
