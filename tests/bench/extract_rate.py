"""The whole extraction beside the plain loop, R-50 network: python -m tests.bench.extract_rate.

The plain loop takes one image at a time, sends every detection above 0.05 through the dense head, matches with a
chunked distance matrix and averages. Weights are random and scores rigged: 24 detections an image lie above 0.05, two
above 0.5.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from scipy.spatial import ConvexHull

from dp3d_data.datasets.images import read_image
from dp3d_data.detection import DensePredictor, build_network, find_spec
from dp3d_data.geometry import Template, make_template
from dp3d_data.matching import integer_box, object_mask, pool_pixels, resize_to
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from tests.bench.matching_rate import distance_matrix
from tests.bench.photographs import make_photographs

MODEL, CATEGORY, VERTICES = "cse/densepose_rcnn_R_50_FPN_soft_animals_finetune_4k", "dog", 5002
BOXES, WANTED, GOAL = 24, 2, 3.0


def ball() -> Template:
    """A template with as many vertices as the published dog."""
    turn = np.arange(VERTICES) * np.pi * (3 - np.sqrt(5))
    height = 1 - 2 * (np.arange(VERTICES) + 0.5) / VERTICES
    points = np.stack([np.cos(turn) * np.sqrt(1 - height**2), np.sin(turn) * np.sqrt(1 - height**2), height], axis=1)
    faces = ConvexHull(points).simplices
    corners = points[faces]
    outward = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(axis=1) > 0
    return make_template("ball", points, np.where(outward[:, None], faces, faces[:, ::-1]))


def rigged_predictor(**settings) -> DensePredictor:
    """Random weights whose box branch does all its work and then answers with 24 boxes of rigged scores; settings of
    DensePredictor."""
    spec = find_spec(MODEL)
    torch.manual_seed(0)
    network = build_network(spec)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("features"):
                value.copy_(torch.randn(value.shape))
    predictor = DensePredictor(network, **settings)
    detect, kind = network.detect, predictor.class_of(CATEGORY)

    def rigged(images, sizes, features):
        detect(images, sizes, features)
        return [_boxes(size, kind).to(predictor.device) for size in sizes]

    network.detect = rigged
    return predictor


def _boxes(size: tuple[int, int], kind: int) -> Instances:
    """24 boxes of a third to two thirds of the image; the first two above 0.5."""
    rng = np.random.default_rng(0)
    height, width = size
    corner = rng.uniform(0, 1 / 3, (BOXES, 2)) * [width, height]
    extent = rng.uniform(1 / 3, 2 / 3, (BOXES, 2)) * [width, height]
    boxes = torch.from_numpy(np.concatenate([corner, corner + extent], axis=1).astype("f4"))
    scores = torch.from_numpy(np.linspace(0.35, 0.06, BOXES).astype("f4"))
    scores[:WANTED] = 0.9
    return Instances(size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=torch.full((BOXES,), kind))


def plain_loop(predictor: DensePredictor, paths: list[Path]) -> int:
    """Every detection above 0.05 of every image to keypoints, one after the other; their number."""
    kind = predictor.class_of(CATEGORY)
    vertices, count = predictor.vertex_embeddings(kind), 0
    for path in paths:
        image = np.ascontiguousarray(read_image(path).pixels[:, :, ::-1])
        for one in predictor.predict(image, score=0.05):
            x, y, width, height = integer_box(one.box)
            mask = object_mask(one.coarse_segm, width, height)
            ids = (
                distance_matrix(resize_to(one.embedding, width, height)[mask], vertices)
                if mask.any()
                else np.zeros(0, int)
            )
            rows, columns = np.nonzero(mask)
            pool_pixels(ids, np.stack([columns + x + 0.5, rows + y + 0.5], axis=1), len(vertices))
            count += 1
    return count


def main() -> int:
    """Print seconds an image and the ratio; fails where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    predictor = rigged_predictor()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_photographs(root / "photographs", options.images, 1066, 800)
        ball().save(root / "ball.npz")
        given = {"images": (str(root / "photographs"),), "template": str(root / "ball.npz"), "out": str(root / "out")}
        config = ExtractConfig(category=CATEGORY, **given, workers=1, threads=options.threads, overlays=0)
        torch.set_num_threads(options.threads)
        began = time.perf_counter(), time.process_time()
        outcome = extract(make_plan(config, lambda: predictor))
        between = time.perf_counter(), time.process_time()
        count = plain_loop(predictor, sorted((root / "photographs").rglob("*.jpg")))
        ended = time.perf_counter(), time.process_time()
    ours, plain = ([b - a for a, b in zip(*pair, strict=True)] for pair in ((began, between), (between, ended)))
    for name, (clock, processors), found in (("ours", ours, outcome.instances), ("plain", plain, count)):
        print(
            f"{clock / options.images:8.2f} s an image, {processors / options.images:.2f} s of the processors  {name},"
            f" {found} instances"
        )
    print(f"{plain[0] / ours[0]:8.2f} x faster on the clock, {plain[1] / ours[1]:.2f} x by the processors, goal {GOAL}")
    return int(plain[1] / ours[1] < GOAL)


if __name__ == "__main__":
    sys.exit(main())
