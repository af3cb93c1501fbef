"""The smallest training of a CSE network, which tests change one thing of."""

from dp3d_data.detection.training.recipe import TrainCseConfig

TINY = TrainCseConfig(
    model="narrow-18",
    image_size=64,
    batch=2,
    steps=2,
    points=16,
    save_every=1,
    workers=0,
    warmup=1,
    precision="float32",
    renders=6,
)
