"""What a camera does to a picture: focus, motion, exposure, colour, noise, compression."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

Picture = Float[np.ndarray, "S S 3"]


def matted(background: Picture, colours: Picture, mask: np.ndarray) -> Picture:
    """Lay the animal over the background with a soft edge of about a pixel; `colours` is read inside the mask only."""
    cover = np.asarray(mask, dtype=np.float32)[:, :, None]
    wide, paint = _smooth(cover), _smooth(colours * cover)
    edge = paint / np.maximum(wide, 1e-6)
    inner = np.where(cover > 0, colours, edge)
    return background + wide * (inner - background)


def blurred(picture: Picture, radius: float) -> Picture:
    """A Gaussian blur, pixels."""
    if radius < 0.2:
        return picture
    image = Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(radius))), dtype=np.float32) / 255


def _smooth(picture: np.ndarray) -> np.ndarray:
    """Weights 1 2 1 along both axes."""
    for axis in (0, 1):
        after, before = np.roll(picture, 1, axis), np.roll(picture, -1, axis)
        picture = 0.5 * picture + 0.25 * (after + before)
    return picture


def photographed(rng: np.random.Generator, picture: Picture) -> UInt8[np.ndarray, "S S 3"]:
    """Linear-ish light 0..1 to the bytes of a photograph."""
    target = rng.uniform(0.33, 0.58)  # exposure meters bring most pictures to a middle grey
    gain = np.clip(target / max(float(picture.mean()), 1e-3), 0.7, 1.9) * np.exp(rng.normal(0, 0.05, 3))
    picture = np.clip(picture * gain, 0, 4) ** rng.uniform(0.75, 1.1)
    picture = 0.5 + (picture - 0.5) * rng.uniform(0.75, 1.25) + rng.normal(0, 0.03)
    grey = picture @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    saturation = 0.0 if rng.random() < 0.04 else rng.uniform(0.6, 1.3)
    picture = grey[:, :, None] + saturation * (picture - grey[:, :, None])
    image = Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    size = image.size[0] / 256
    blur = rng.choice([0.0, rng.uniform(0.2, 0.7), rng.uniform(0.6, 1.8)], p=[0.45, 0.4, 0.15])
    image = image.filter(ImageFilter.GaussianBlur(float(size * blur)))
    if rng.random() < 0.08:
        image = image.filter(_motion(rng))
    pixels = np.asarray(image, dtype=np.float32)
    noise = rng.normal(0, 1, pixels.shape).astype(np.float32)
    pixels = pixels + rng.choice([0.5, rng.uniform(1, 4), rng.uniform(4, 14)], p=[0.4, 0.45, 0.15]) * noise
    image = Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
    return np.asarray(_compressed(image, int(rng.uniform(35, 96))) if rng.random() < 0.6 else image)


def _motion(rng: np.random.Generator) -> ImageFilter.Kernel:
    """A streak of five pixels."""
    kernel = [np.eye(5), np.eye(5)[::-1], np.eye(5)[[2] * 5].T, np.eye(5)[[2] * 5]][rng.integers(4)]
    return ImageFilter.Kernel((5, 5), kernel.ravel().tolist())


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    """Through JPEG and back."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
