"""Training of the lifter: batches, augmentation, optimiser, log, trainer."""
