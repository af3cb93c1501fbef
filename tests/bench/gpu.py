"""What a GPU makes of every heavy part, as a table to paste into docs/scale.md: python -m tests.bench.gpu
[--device cuda] [--short].

Times are the best of a few rounds on the clock, the device waited for. Weights are random but for the embedded
network's. The reference is the plain loop of published code: a photograph at a time in float32, every detection above
0.05 through the dense head, and for each the whole matrix of distances in pieces of 10,000 pixels; it runs on the same
device.
"""

import argparse
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dp3d_data.datasets.folder import Samples
from dp3d_data.datasets.images import read_image
from dp3d_data.detection import load_predictor
from dp3d_data.detection.training import trainer as cse
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.start import start_of
from dp3d_data.detection.training.stream import batches, kinds_of
from dp3d_data.fitting import optimiser_step
from dp3d_data.matching import VertexIndex, cycle_weights, integer_box, object_mask, resize_to
from dp3d_model.config import preset
from dp3d_model.lifting.prediction import predict
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.trainer import Trainer
from tests.bench.extract_rate import CATEGORY, rigged_predictor
from tests.bench.matching_rate import CHUNK, DIM, VERTICES, scene
from tests.bench.predict_rate import sphere, world
from tests.model.toy import source_of

SPEEDS = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "float16, channels-last": {"precision": "float16", "channels_last": True},
    "float16, channels-last, compiled": {"precision": "float16", "channels_last": True, "compiled": True},
}


@dataclass(frozen=True)
class Machine:
    """Where to measure, how often, and how large.

    Attributes:
        short: small sizes and one round, to see that all of it runs.
    """

    device: str
    short: bool

    def seconds(self, work: Callable[[], object]) -> float:
        """Of the quickest round, after one to warm up."""
        work()
        best = float("inf")
        for _ in range(1 if self.short else 5):
            self.wait()
            began = time.perf_counter()
            work()
            self.wait()
            best = min(best, time.perf_counter() - began)
        return best

    def wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    @property
    def name(self) -> str:
        """Of the device, with the versions that matter."""
        chip = platform.processor() or platform.machine()
        if self.device != "cpu":
            card = torch.cuda.get_device_properties(torch.device(self.device))
            chip = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
        return f"{chip} · torch {torch.__version__} · CUDA {torch.version.cuda} · Python {platform.python_version()}"


Row = tuple[str, str, str]


def timing(what: str, seconds: float, note: str) -> Row:
    return what, f"{1000 * seconds:.3g} ms", note


def limits(machine: Machine) -> tuple[float, float]:
    """Floating-point operations in float32, and bytes read and written, a second: what large products and copies reach
    here."""
    side = 512 if machine.short else 8192
    a = torch.randn(side, side, device=machine.device)
    product, copy = machine.seconds(lambda: a @ a), machine.seconds(a.clone)
    return 2 * side**3 / product, 2 * a.numel() * 4 / copy


def matching(machine: Machine) -> Iterator[Row]:
    """Nearest vertices and cycle weights of a large instance, beside what its arithmetic and its memory traffic take at
    least."""
    arithmetic, traffic = limits(machine)
    yield "float32 products, copies", "", f"{arithmetic / 1e12:.3g} TFLOP/s, {traffic / 1e9:.4g} GB/s measured"
    pixels, vertices, places = scene()
    pixels, places = (pixels[:3000], places[:3000]) if machine.short else (pixels, places)
    count = len(pixels)
    # On a GPU the matrix of products is written, read and written for the norms, and read for the largest.
    least = 2 * count * VERTICES * DIM / arithmetic, 4 * count * VERTICES * 4 / traffic
    index = VertexIndex(vertices, machine.device)
    seconds = machine.seconds(lambda: index.search(pixels))
    note = (
        f"{count / seconds:.3g} pixels/s; the matrix takes {1000 * least[0]:.3g} ms of arithmetic,"
        f" {1000 * least[1]:.3g} ms of traffic"
    )
    yield timing(f"matching {count:,} x {VERTICES:,} x {DIM}", seconds, note)
    ids = index.search(pixels)
    seconds = machine.seconds(lambda: cycle_weights(pixels, ids, places, vertices, 12.0, machine.device))
    yield timing("its cycle weights", seconds, "")
    if machine.device != "cpu":
        faiss = machine.seconds(lambda: VertexIndex(vertices).search(pixels))
        yield timing("matching on the CPU (faiss)", faiss, f"{torch.get_num_threads()} threads")


def extraction(machine: Machine) -> Iterator[Row]:
    """Photographs of 800 x 1066 through the R-50 network, in every precision, beside the reference."""
    height, width, batch = (200, 266, 1) if machine.short else (800, 1066, 8)
    images = [np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8) for seed in range(batch)]
    plain = rigged_predictor(device=machine.device)
    reference = machine.seconds(lambda: reference_loop(plain, images[:1], machine.device))
    yield timing("R-50, reference loop, a photograph", reference, f"{1 / reference:.3g} images/s")
    for name, speed in dict(list(SPEEDS.items())[:1] if machine.short else SPEEDS).items():
        predictor = rigged_predictor(device=machine.device, **speed)
        index = VertexIndex(predictor.vertex_embeddings(predictor.class_of(CATEGORY)), machine.device)
        seconds = machine.seconds(lambda predictor=predictor, index=index: our_loop(predictor, index, images)) / batch
        note = f"{1 / seconds:.3g} images/s, {reference / seconds:.2g} times the reference"
        yield timing(f"R-50, batches of {batch}, {name}", seconds, note)


def our_loop(predictor, index: VertexIndex, images: list[np.ndarray]) -> int:
    """Photographs to matched pixels: only what is kept enters the dense head."""
    kind = predictor.class_of(CATEGORY)
    found = [one for own in predictor.predict_many(images, score=0.5, classes=[kind]) for one in own]
    return sum(len(index.search(pixels)) for pixels in map(pixels_of, found))


def reference_loop(predictor, images: list[np.ndarray], device: str) -> int:
    """Photographs to matched pixels, one after the other."""
    rows = torch.from_numpy(predictor.vertex_embeddings(predictor.class_of(CATEGORY))).to(device)
    count = 0
    for one in (one for image in images for one in predictor.predict(image, score=0.05)):
        for part in torch.from_numpy(pixels_of(one)).split(CHUNK):
            part = part.to(device)
            distances = part.square().sum(1, keepdim=True) + rows.square().sum(1)[None] - 2 * part @ rows.T
            count += len(distances.argmin(dim=1).cpu())
    return count


def pixels_of(one) -> np.ndarray:
    """The embeddings [N, D] of a detection's pixels, where its mask is."""
    _, _, width, height = integer_box(one.box)
    mask = object_mask(one.coarse_segm, width, height)
    return np.ascontiguousarray(resize_to(one.embedding, width, height)[mask])


def embedded(machine: Machine) -> Iterator[Row]:
    """The sample photographs through the embedded network, with its second look."""
    images = [np.ascontiguousarray(read_image(one.path).pixels[:, :, ::-1]) for one in Samples().records()]
    for name, speed in dict(list(SPEEDS.items())[:1] if machine.short else SPEEDS).items():
        predictor = load_predictor("animals-3", device=machine.device, **speed)
        prepared = [predictor.prepare(image) for image in images]
        seconds = machine.seconds(
            lambda predictor=predictor, prepared=prepared: predictor.predict_many(prepared)
        ) / len(images)
        yield timing(f"animals-3, {len(images)} sample photographs, {name}", seconds, f"{1 / seconds:.3g} images/s")


def lifting(machine: Machine) -> Iterator[Row]:
    """Forward passes, optimised predictions and training steps of 512 instances."""
    count = 16 if machine.short else 512
    for vertices in (300,) if machine.short else (1000, 7000):
        surface = sphere(vertices)
        instances = world(surface, count)
        given = f"{count} instances of {vertices:,} vertices"
        optimised = {"refine": asdict(preset("photographs").refine) | {"silhouette": 0.0}}
        for name, changes in (("forward", {"refine.steps": 0}), ("optimised", optimised)):
            lifter = Lifter(surface, preset("quick", changes)).eval().to(machine.device)
            seconds = machine.seconds(lambda lifter=lifter, some=instances: list(predict(lifter, some, count)))
            yield timing(f"lifter, {name}, {given}", seconds, f"{count / seconds:.4g} instances/s, with figures")
        for name, precision in (
            ("quick", "float32"),
            ("quick", "bfloat16"),
            ("best", "float32"),
            ("stanford-dogs", "float32"),
        ):
            seconds = lifting_step(machine, surface, instances, name, precision)
            note = f"{count / seconds:.4g} instances/s{memory(machine)}"
            yield timing(f"lifter, training step `{name}` {precision}, {given}", seconds, note)


def lifting_step(machine: Machine, surface, instances, name: str, precision: str) -> float:
    """Seconds of one training step, without the reading of its batch."""
    optim = {"batch": len(instances), "steps": 100, "epochs": 0, "precision": precision}
    config = preset(name, {"optim": optim, "model.projection": "orthographic", "loss.truth": 0.0})
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(surface, source_of(instances), config, folder, device=machine.device)
        batch = replace(instances, index=torch.arange(len(instances)), weights=instances.visible.float())
        trainer.objective.train()
        return machine.seconds(lambda: trainer.train_step(batch))


def memory(machine: Machine) -> str:
    """The most memory that was held since it was asked last."""
    if machine.device == "cpu":
        return ""
    held = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return f", {held:.1f} GiB"


def dense_training(machine: Machine) -> Iterator[Row]:
    """Training steps of dense networks on rendered images that are ready."""
    small = (
        {"image_size": 64, "batch": 2, "crops": 2, "crop_size": 64, "points": 16}
        if machine.short
        else {"image_size": 288, "batch": 8}
    )
    for model, precision in (("animals-3", "float32"), ("animals-3", "bfloat16"), ("narrow-18", "bfloat16")):
        config = TrainCseConfig(
            model=model, precision=precision, device=machine.device, renders=4, workers=0, steps=3, **small
        )
        with tempfile.TemporaryDirectory() as folder:
            config = replace(config, cache=folder)
            kinds = kinds_of(config)
            network, targets = start_of(kinds, config, cse.targets_of(kinds, config))
            state = cse.fresh_state(network, config)
            state.module.train()
            gradients, settings = cse.gradients_of(network, targets, config), cse.fit_config(config)
            batch = next(batches(kinds, config, 0, again=network.spec.crop_side > 0))
            batch = batch.to(machine.device)
            step = partial(optimiser_step, state, gradients, batch, settings, Path(folder))
            seconds = machine.seconds(step)
        images = config.crops if network.spec.crop_side else config.batch
        yield timing(
            f"{model}, training step {precision}, {images} images",
            seconds,
            f"{images / seconds:.4g} images/s{memory(machine)}",
        )


def main() -> int:
    """Print the table; fails where a part of it could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    machine = Machine(given.device, given.short)
    print(f"{machine.name}\n\n| what | time | |\n|---|---|---|", flush=True)
    failed = 0
    for part in (matching, extraction, embedded, lifting, dense_training):
        try:
            for row in part(machine):
                print("| " + " | ".join(row) + " |", flush=True)
        except (
            RuntimeError,
            ValueError,
            TypeError,
        ) as error:  # the other parts are still worth their time on a lent machine
            failed += 1
            traceback.print_exc()
            print(f"| {part.__name__} | failed | {type(error).__name__} |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
