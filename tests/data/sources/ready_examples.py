"""Small files of the correspondences that others make: IUV results and images, dumps of apply_net, arrays of
keypoints."""

import base64
import dataclasses
import io
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dp3d_data.datasets import DatasetOptions
from tests.data.sources.pictures import SIZE, photo, write_json
from tests.shared import shared

# The vertices of the template of all examples but those of people's charts.
VERTICES = 162


def iuv_pixels(width, height, seed=0):
    """I, U, V [h, w, 3] with a border of background."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[..., 0] = rng.integers(1, 25, (height, width))
    pixels[[0, -1]], pixels[:, [0, -1]] = 0, 0
    return pixels


def png(pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def people(root: Path, **more) -> DatasetOptions:
    return DatasetOptions(category="person", charts=str(shared("data/densepose/UV_Processed.mat")), **more)


def write_iuv_results(root: Path) -> DatasetOptions:
    photo(root / "photos" / "000000000785.jpg")
    photo(root / "photos" / "COCO_val2014_000000000872.jpg")
    entries = [
        {
            "image_id": image,
            "category_id": 1,
            "score": score,
            "bbox": [2.5, 3.25, 12, 9],
            "uv_shape": [3, 9, 12],
            "uv_data": base64.b64encode(png(iuv_pixels(12, 9, place))).decode(),
        }
        for place, (image, score) in enumerate([(785, 0.9), (872, 0.8), (785, 0.7)])
    ]
    path = write_json(root / "results.json", entries)
    return people(root, path=str(path), images=(str(root / "photos"),))


def write_iuv_images(root: Path) -> DatasetOptions:
    photo(root / "out" / "a.jpg")
    photo(root / "out" / "sub" / "b.png")
    Image.fromarray(iuv_pixels(*SIZE)).save(root / "out" / "a_IUV.png")
    Image.fromarray(iuv_pixels(*SIZE, 1)[..., ::-1]).save(root / "out" / "sub" / "b_IUV.png")
    numbers = np.zeros(SIZE[::-1], np.uint8)
    numbers[:15], numbers[15:] = 1, 2
    Image.fromarray(numbers).save(root / "out" / "sub" / "b_INDS.png")
    Image.fromarray(iuv_pixels(*SIZE, 2)).save(root / "out" / "alone_IUV.png")
    return people(root, path=str(root / "out"))


@contextmanager
def reference_classes():
    """Stand-ins under the names that the reference's objects have in a dump, for as long as one is written."""
    made = {
        "densepose.structures.chart_result": {
            "DensePoseChartResult": ("labels", "uv"),
            "DensePoseChartResultWithConfidences": ("labels", "uv", "sigma_1", "sigma_2"),
        },
        "densepose.structures.cse": {"DensePoseEmbeddingPredictorOutput": ("embedding", "coarse_segm")},
        "densepose.structures.chart": {"DensePoseChartPredictorOutput": ("coarse_segm", "fine_segm", "u", "v")},
        "densepose.data.structures": {"DensePoseResult": ("results", "boxes_xywh")},
    }
    modules, classes = {}, {}
    for name, kinds in made.items():
        for parent in [".".join(name.split(".")[: depth + 1]) for depth in range(name.count(".") + 1)]:
            modules.setdefault(parent, types.ModuleType(parent))
        for kind, fields in kinds.items():
            one = dataclasses.make_dataclass(kind, [(field, object, None) for field in fields])
            one.__module__ = name
            setattr(modules[name], kind, one)
            classes[kind] = one
    assert not set(modules) & set(sys.modules)
    sys.modules.update(modules)
    try:
        yield types.SimpleNamespace(**classes)
    finally:
        for name in modules:
            del sys.modules[name]


def dump_entry(path, boxes, dense):
    scores = torch.linspace(0.9, 0.6, len(boxes))
    return {"file_name": str(path), "scores": scores, "pred_boxes_XYXY": torch.tensor(boxes), "pred_densepose": dense}


def write_dump(root: Path) -> DatasetOptions:
    """Charts: labels, u and v for each detection; an image with none."""
    rng = np.random.default_rng(0)
    photo(root / "photos" / "a.jpg")
    photo(root / "photos" / "b.jpg")
    boxes = [[2.5, 3.5, 14.6, 12.75], [20.0, 4.0, 33.0, 20.0]]
    with reference_classes() as kinds:
        dense = []
        for kind, (x0, y0, x1, y1) in zip(
            (kinds.DensePoseChartResult, kinds.DensePoseChartResultWithConfidences), boxes, strict=True
        ):
            height, width = int(y1 - y0), int(x1 - x0)
            uv = torch.from_numpy(rng.random((2, height, width), dtype=np.float32))
            dense.append(kind(labels=torch.from_numpy(rng.integers(0, 25, (height, width))), uv=uv))
        entries = [dump_entry(root / "photos" / "a.jpg", boxes, dense), dump_entry(root / "photos" / "b.jpg", [], [])]
        torch.save(entries, root / "dump.pkl")
    return people(root, path=str(root / "dump.pkl"), images=(str(root / "photos"),))


def write_dump_of_embeddings(root: Path) -> DatasetOptions:
    """CSE: raw answers for all detections of an image, and the weights they belong to."""
    rng = np.random.default_rng(0)
    photo(root / "photos" / "a.jpg")
    boxes = [[2.5, 3.5, 14.6, 12.75], [20.0, 4.0, 33.0, 20.0]]
    with reference_classes() as kinds:
        numbers = [torch.from_numpy(rng.standard_normal((2, depth, 28, 28), dtype=np.float32)) for depth in (16, 2)]
        torch.save(
            [dump_entry(root / "photos" / "a.jpg", boxes, kinds.DensePoseEmbeddingPredictorOutput(*numbers))],
            root / "dump.pkl",
        )
    sizes = {"features": (VERTICES, 20), "embeddings": (20, 16)}
    state = {
        f"roi_heads.embedder.embedder_dog_7466.{name}": torch.from_numpy(rng.standard_normal(size, dtype=np.float32))
        for name, size in sizes.items()
    }
    torch.save({"model": state}, root / "weights.pth")
    return DatasetOptions(
        path=str(root / "dump.pkl"), images=(str(root / "photos"),), weights=str(root / "weights.pth")
    )


def write_keypoints(root: Path) -> DatasetOptions:
    rng = np.random.default_rng(0)
    photo(root / "a.jpg")
    names = np.array(["a.jpg", "gone.jpg", "a.jpg"])
    keypoints, visible = rng.uniform(2, 28, (3, VERTICES, 2)).astype(np.float32), rng.random((3, VERTICES)) < 0.7
    known = {"image": names, "group": np.array(["x", "y", "x"]), "split": np.array(["train", "val", "train"])}
    np.savez(
        root / "keypoints.npz", keypoints=keypoints, visible=visible, xyz=rng.normal(size=(3, VERTICES, 3)), **known
    )
    return DatasetOptions(path=str(root / "keypoints.npz"))
