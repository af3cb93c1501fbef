"""extract beside the plain loop over detectron2's DefaultPredictor, R-50 network: python -m tests.bench.peers.extract
[--images 3].

Both have the same weights, written to a file and loaded by each in its own way, the same photographs, the CPU and one
thread. The plain loop is what DensePose's users write: DefaultPredictor for one image after the other, the dense head
on every box that the settings keep, each pixel of each mask matched by a matrix of distances to the vertices, means
over the pixels of a vertex. Weights are random and scores rigged: 24 boxes an image lie above detectron2's threshold of
0.05, two above 0.5, so the loop stands twice: as detectron2 comes, and with its threshold at 0.5, where both do the
same work.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from detectron2.engine import DefaultPredictor

from dp3d_data.datasets.images import read_image
from dp3d_data.detection import DensePredictor, find_spec
from dp3d_data.detection.network import configuration
from dp3d_data.matching import integer_box, object_mask, pool_pixels, resize_to
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from tests.bench.extract_rate import CATEGORY, MODEL, _boxes, ball, rigged_predictor
from tests.bench.matching_rate import distance_matrix
from tests.bench.peers import versions
from tests.bench.photographs import make_photographs


def default_predictor(weights: Path, score: float, kind: int) -> DefaultPredictor:
    """detectron2's own predictor, whose heads add dense maps to each box as DensePose's do."""
    spec = find_spec(MODEL)
    cfg = configuration(spec, "cpu")
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.WEIGHTS = "Dp3dDenseRCNN", str(weights)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, cfg.INPUT.FORMAT = spec.min_side, spec.max_side, "BGR"
    predictor = DefaultPredictor(cfg)
    heads = predictor.model.roi_heads

    def with_maps(images, features, proposals, targets=None):
        heads._forward_box(features, proposals)  # does its work; then the rigged boxes
        found = [_boxes(size, kind) for size in images.image_sizes]
        found = [boxes[boxes.scores > score] for boxes in found]
        maps = heads.densepose_outputs(features, [boxes.pred_boxes.tensor for boxes in found])
        first = 0
        for boxes in found:
            part = slice(first, first + len(boxes))
            boxes.coarse_segm, boxes.embedding = maps["coarse_segm"][part], maps["embedding"][part]
            first += len(boxes)
        return found, {}

    heads.forward = with_maps
    return predictor


def plain_loop(predictor: DefaultPredictor, vertices: np.ndarray, paths: list[Path]) -> int:
    """Every box of every image to keypoints, one after the other; their number."""
    count = 0
    for path in paths:
        image = np.ascontiguousarray(read_image(path).pixels[:, :, ::-1])
        found = predictor(image)["instances"]
        for box, coarse, embedding in zip(
            found.pred_boxes.tensor.numpy(), found.coarse_segm.numpy(), found.embedding.numpy(), strict=True
        ):
            x, y, width, height = integer_box(tuple(box.tolist()))
            mask = object_mask(coarse, width, height)
            rows, columns = np.nonzero(mask)
            if len(rows):
                ids = distance_matrix(resize_to(embedding, width, height)[mask], vertices)
                pool_pixels(ids, np.stack([columns + x + 0.5, rows + y + 0.5], axis=1), len(vertices))
            count += 1
    return count


def ours(predictor: DensePredictor, root: Path) -> int:
    """Instances that extract finds."""
    given = {"images": (str(root / "photographs"),), "template": str(root / "ball.npz"), "out": str(root / "out")}
    config = ExtractConfig(category=CATEGORY, **given, workers=1, threads=1, overlays=0)
    return extract(make_plan(config, lambda: predictor)).instances


def main() -> None:
    """Print seconds an image of each, and how many times ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = rigged_predictor()
    kind = predictor.class_of(CATEGORY)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_photographs(root / "photographs", options.images, 1066, 800)
        ball().save(root / "ball.npz")
        torch.save({"model": predictor.network.state_dict()}, root / "weights.pth")
        paths, vertices = sorted((root / "photographs").rglob("*.jpg")), predictor.vertex_embeddings(kind)
        about = f"{options.images} photographs of 1066 x 800, one thread"
        print(f"{versions('torch', 'sal-detectron2', 'detectron2')}; {about}\n")
        print("| | boxes | s an image | s of the processor | times ours |\n|---|---:|---:|---:|---:|", flush=True)
        own = _line("dp3d-data extract", options.images, lambda: ours(predictor, root), 0.0)
        for score in (0.5, 0.05):
            loop = default_predictor(root / "weights.pth", score, kind)
            name = f"DefaultPredictor, boxes above {score}"
            _line(name, options.images, lambda loop=loop: plain_loop(loop, vertices, paths), own)


def _line(name: str, images: int, work: Callable[[], int], own: float) -> float:
    """One line of the table; processor seconds."""
    began = time.perf_counter(), time.process_time()
    count = work()
    clock, busy = time.perf_counter() - began[0], time.process_time() - began[1]
    figures = f"{clock / images:.2f} | {busy / images:.2f} | {busy / (own or busy):.2f}"
    print(f"| {name} | {count} | {figures} |", flush=True)
    return busy


if __name__ == "__main__":
    main()
