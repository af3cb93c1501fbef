"""Each kind of file x 100 flips and cuts x its readers: an error that says so, or the very same content; never a
traceback."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner

from dp3d_data.detection.training.trainer import load_state, save_state
from dp3d_data.detection.weights import read_checkpoint
from dp3d_data.errors import Dp3dError
from dp3d_data.files import append_line, trim_lines, write_json
from dp3d_data.fitting import TrainingState, copied
from dp3d_data.loader import Loader
from dp3d_data.shards import Run, RunWriter, ShardReader, verify
from dp3d_data.shards.inputs import open_input
from dp3d_data.shards.runs import check_chunk, found_run
from dp3d_data.torch_files import write_torch
from dp3d_model.experiments.study import known_in
from dp3d_model.lifting.model_file import load_model, read_content
from dp3d_model.training.trainer import Trainer
from pipelines.cli.data import main
from tests.data.loader.samples import shards_in
from tests.data.shards.samples import row, run
from tests.model.toy import source_of, tiny, toy_instances, toy_surface

FLIPS, CUTS = 75, 25


def plain(value):
    """Content that can be compared."""
    if isinstance(value, pa.Table):
        return value.to_pylist()
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def said(*words):
    """What a command says; its error where it refuses."""
    result = CliRunner().invoke(main, list(map(str, words)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        raise Dp3dError(result.output)
    return result.output


def no_faults(folder: Path):
    faults = verify(folder)
    if faults:
        raise Dp3dError(faults[0][1])
    return faults


def make_run(root: Path):
    failure = {"image_id": "x", "path": "x.jpg", "stage": "read", "error": "InputCorrupt", "message": "no image"}
    with RunWriter(root / "run", kind="extract", fingerprint="0123456789ab") as writer:
        writer.commit(
            0,
            [row(0), row(1)],
            [failure],
            [{"instance_id": "y#0", "image_id": "y", "reason": "score", "value": 0.5}],
            inputs=3,
        )
        writer.finish(template=run(root / "other", [row(5)]).template(), category="dog", config={})
    with RunWriter(root / "begun", kind="extract", fingerprint="0123456789ab") as writer:
        writer.commit(0, [row(0)], inputs=1)
    return Run.open(root / "run")


def cse_state():
    network = torch.nn.Linear(7, 5)
    return TrainingState(
        network,
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
        network,
        copied(network.state_dict().items()),
        step=3,
    )


def state_in(folder: Path):
    state = cse_state()
    load_state(state, folder, "recipe")
    return state.step, plain(state.module.state_dict()), plain(state.average)


def batches_of(folder: Path):
    return [(plain(batch.keypoints), plain(batch.index)) for batch in Loader(folder, "all", threads=0, batch_size=16)]


def lines_in(path: Path):
    """A log is trimmed, never refused: what stays can be read."""
    trim_lines(path, 10)
    append_line(path, {"step": 11})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Every kind of file, and what reads it: path -> readers."""
    root = tmp_path_factory.mktemp("world")
    make_run(root)
    shards, torch_files = shards_in(root / "built"), root / "torch"
    surface = toy_surface()
    Trainer(surface, source_of(toy_instances(surface, 20)), tiny({"optim.steps": 2}), torch_files).run()
    save_state(cse_state(), torch_files, "recipe")
    write_torch(torch_files / "weights.pth", {"model": {"a": torch.randn(40, 9)}, "dp3d": {"name": "x"}})
    write_json(root / "pace.json", {"0123": 1.25, "4567": 2.5})
    for step in range(12):
        append_line(root / "metrics.jsonl", {"step": step, "total": step / 7})
    made, begun = root / "run", root / "begun"
    reader = lambda: ShardReader(shards)  # noqa: E731 - opened anew for each reading
    train = next(shards.glob("train-*.parquet")).name
    whole_run = [lambda: no_faults(made), lambda: said("failures", made, "--rejects"), lambda: said("inspect", made)]
    return {
        made / "run.json": [
            lambda: Run.open(made).marker,
            lambda: open_input(made),
            lambda: found_run(made),
            *whole_run,
        ],
        made / "failures.parquet": [lambda: plain(Run.open(made).failures()), *whole_run[:2]],
        made / "rejects.parquet": [lambda: plain(Run.open(made).rejects()), *whole_run[:2]],
        made / "instances-00000.parquet": [
            lambda: plain(list(Run.open(made).instances())),
            lambda: said("inspect", made, "--row", "0"),
            whole_run[0],
        ],
        made / "template.npz": [
            lambda: plain(Run.open(made).template().vertices),
            lambda: open_input(made).template().content_hash,
        ],
        begun / ".parts" / "start.json": [lambda: found_run(begun)],
        begun / ".parts" / "00000.json": [lambda: check_chunk(begun, 0)],
        begun / ".parts" / "rejects-00000.parquet": [lambda: check_chunk(begun, 0)],
        shards / "manifest.json": [
            lambda: reader().manifest,
            lambda: ShardReader(shards).manifest,
            lambda: said("inspect", shards),
        ],
        shards / train: [
            lambda: plain(reader().tables("train")),
            lambda: batches_of(shards),
            lambda: no_faults(shards),
        ],
        shards / "template.npz": [
            lambda: plain(reader().template.vertices),
            lambda: open_input(shards).template().content_hash,
        ],
        shards / "basis.npz": [lambda: plain(list(reader().basis))],
        torch_files / "model.pt": [lambda: plain(load_model(torch_files).state_dict())],
        torch_files / "state.pt": [lambda: plain(read_content(torch_files / "state.pt", "state")["objective"])],
        torch_files / "state.pth": [lambda: state_in(torch_files)],
        torch_files / "weights.pth": [lambda: plain(read_checkpoint(torch_files / "weights.pth")[0])],
        root / "pace.json": [lambda: known_in(root / "pace.json") or None],
        root / "metrics.jsonl": [lambda: lines_in(root / "metrics.jsonl")],
    }


def damages(data: bytes, seed: int):
    rng = np.random.default_rng(seed)
    for place, bit in zip(rng.integers(0, len(data), FLIPS), rng.integers(0, 8, FLIPS), strict=True):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(bit)
        yield f"bit {bit} of byte {place}", bytes(flipped)
    for length in [0, 1, len(data) - 1, *rng.integers(0, len(data), CUTS - 3)]:
        yield f"cut to {length} bytes", data[:length]


def reading(reader):
    """What a reader gives; None where it refuses in words."""
    try:
        return reader()
    except Dp3dError as error:
        assert str(error)
        return None


@pytest.mark.slow
def test_no_damage_gives_other_content_or_a_traceback(world):
    silent = []
    for seed, (path, readers) in enumerate(world.items()):
        data = path.read_bytes()
        right = [reader() for reader in readers]
        for what, spoilt in damages(data, seed):
            for number, reader in enumerate(readers):
                path.write_bytes(spoilt)
                found = reading(reader)
                if found is not None and found != right[number]:
                    silent.append(f"{path.name}, {what}: reader {number} gives other content")
        path.write_bytes(data)
    assert not silent, "\n".join(silent[:20])
