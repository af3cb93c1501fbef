"""model.pt and state.pt: no flipped bit and no cut passes, what is missing is named, two trainings never share a
folder."""

import json

import numpy as np
import pytest
import torch

from dp3d_data.config import changed, declared, flat, former_names, plain
from dp3d_data.errors import CheckpointError, ConfigError, FingerprintMismatch, FolderBusy, InputMissing
from dp3d_data.files import locked
from dp3d_data.torch_files import check_archive, read_torch, write_torch
from dp3d_model.config import TrainConfig, preset
from dp3d_model.evaluation.quality import Calibration
from dp3d_model.lifting.model_file import embedded_model, load_model, read_config, read_content, save_model
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.trainer import Trainer
from tests.model.toy import source_of, tiny, toy_instances, toy_surface


def trainer(folder, *changes):
    surface = toy_surface()
    return Trainer(surface, source_of(toy_instances(surface, 20)), tiny(*changes), folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    trainer(folder).run()
    return folder


def damaged(data: bytes, count: int):
    """Flips and cuts of a file's bytes."""
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), count):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        yield bytes(flipped)
    yield from (data[: -int(cut)] for cut in (1, 20, 64, 76, 77, 78, 79, 98, *rng.integers(1, len(data), count // 3)))
    yield data + b"\0"


@pytest.mark.parametrize("kind", ["model", "state"])
def test_no_damage_to_a_model_or_state_passes(trained, tmp_path, kind):
    data, path = (trained / f"{kind}.pt").read_bytes(), tmp_path / f"{kind}.pt"
    for number, spoilt in enumerate(damaged(data, 150)):
        path.write_bytes(spoilt)
        with pytest.raises(CheckpointError):
            read_content(path, kind)
            pytest.fail(f"damage {number} passed")
    path.write_bytes(data)
    assert read_content(path, kind)["format"] == 1


def test_a_file_with_its_checksum_is_read_by_torch_alone(trained):
    content = torch.load(trained / "model.pt", weights_only=True, mmap=True)
    assert set(content["weights"]) == set(load_model(trained).state_dict())


def test_a_file_of_an_earlier_version_is_read_and_its_tensors_are_checked(trained, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(read_content(trained, "model"), path)
    data = path.read_bytes()
    assert torch.equal(load_model(path).surface.vertices, load_model(trained).surface.vertices)
    values = load_model(trained).surface.vertices.numpy().tobytes()
    place = data.index(values)
    path.write_bytes(data[: place + 3] + bytes([data[place + 3] ^ 4]) + data[place + 4 :])
    with pytest.raises(CheckpointError, match="this model file is damaged"):
        load_model(path)


@pytest.mark.parametrize("key", ["recipe", "config", "template", "vertices", "weights"])
def test_a_model_file_without_a_key_is_refused(trained, tmp_path, key):
    content = read_content(trained, "model")
    del content[key]
    with pytest.raises(CheckpointError, match=f"'{key}' is missing"):
        load_model(write_torch(tmp_path / "model.pt", content))


def test_what_is_no_archive_is_left_to_its_own_reader(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    check_archive(tmp_path / "x")
    with pytest.raises(InputMissing):
        read_content(tmp_path / "none", "state")


@pytest.mark.slow
def test_a_torn_last_line_ends_no_training(tmp_path):
    class Killed(Exception):
        pass

    def kill(step, steps, losses):
        if step == 5:
            raise Killed

    trainer(tmp_path / "whole").run()
    for torn in (b'{"step": 4, "tot', b"\xff\xfe", b'{"step": 3}', b"[]\n", b'{"step": null}\n'):
        folder = tmp_path / str(len(torn))
        with pytest.raises(Killed):
            trainer(folder).run(kill)
        for name in ("metrics.jsonl", "speed.jsonl"):
            with open(folder / name, "ab") as stream:
                stream.write(torn)
        again = trainer(folder)
        assert again.resume()
        again.run()
        assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
        assert [json.loads(line)["step"] for line in (folder / "speed.jsonl").read_text().splitlines()]


def test_a_training_holds_its_folder(tmp_path):
    met = []

    def second(step, steps, losses):
        for act in (trainer(tmp_path).run, trainer(tmp_path).discard):
            with pytest.raises(FolderBusy, match="another process writes in this folder"):
                act()
            met.append(step)

    trainer(tmp_path).run(second)
    assert len(met) == 12 and load_model(tmp_path)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", [b"junk", b"", b"\x80", b"PK\x03\x04", b"\x80\x02]", b"j\0", bytes(range(256)), b"(" * 1000, b"<html>"]
)
def test_what_is_no_archive_is_no_model(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="(not a|damaged)"):
        read_torch(tmp_path / "model.pt", "model file", expected="a model")


def test_a_refused_file_is_told_without_advice_to_run_it(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(CheckpointError) as refused:
        read_torch(tmp_path / "model.pt", "model file", expected="a model")
    assert "it asks for torch.nn.modules.linear.Linear" in str(refused.value) and "two options" not in str(
        refused.value
    )


OLD = {  # settings as version 0.1 kept them, in one table: {new name: value} by old name
    "parts": ("model.parts", 3),
    "hide": ("data.keypoint_dropout", 0.25),
    "average": ("optim.ema_decay", 0.5),
    "explosion": ("optim.divergence_factor", 7.0),
    "dream_weight": ("loss.cycle", 0.125),
    "facing_weight": ("loss.back_face", 2.0),
    "arap_weight": ("loss.arap", 5.0),
    "refine_arap": ("refine.arap", 6.0),
    "refine_rate": ("refine.learning_rate", 0.5),
    "steps": ("optim.steps", 9),
    "refine_steps": ("refine.steps", 11),
    "seed": ("run.seed", 12),
}


def test_settings_by_their_former_names_are_read():
    config = read_config({old: value for old, (_, value) in OLD.items()}, "model.pt")
    assert config == changed(TrainConfig(), dict(OLD.values()))
    assert read_config(plain(config), "model.pt") == config
    with pytest.raises(ConfigError, match="(?s)model.pt: unknown setting 'zzz'.*--help-all"):
        read_config({"zzz": 1}, "model.pt")
    with pytest.raises(ConfigError, match="(?s)unknown setting 'explosio'.*did you mean 'optim.divergence_factor'"):
        changed(config, {"explosio": 1.0})


def test_every_setting_of_version_0_1_has_a_place():
    """Each by one former name."""
    assert set(former_names(TrainConfig).values()) == set(declared(TrainConfig))


def test_a_small_file_keeps_large_matrices_in_eight_bits(tmp_path):
    """Each number to half of what one of the 255 steps of its row is worth; what fits no matrix is refused."""
    lifter = Lifter(toy_surface(), tiny({"model.width": 128})).eval()
    lifter.trunks[0].head.weight.data[3] *= 1e4
    plain_size, path = (save_model(lifter, tmp_path / f"{small}.pt", small=small) for small in (False, True))
    assert path.stat().st_size < 0.6 * plain_size.stat().st_size
    again = load_model(path).state_dict()
    for name, value in lifter.state_dict().items():
        most = value.abs().amax(-1, keepdim=True) if value.dim() else value.abs()
        assert ((again[name] - value).abs() <= most / 253.0 + 1e-6).all(), name
    content = read_content(path, "model")
    assert content["format"] == 2 and content["weights"]["trunks.0.stem.0.weight"].dtype == torch.int8
    content["weights"]["trunks.0.stem.0.weight.step"] = torch.ones(3)
    write_torch(path, content)
    with pytest.raises(CheckpointError, match="the weights do not fit the settings"):
        load_model(path)


@pytest.mark.parametrize("category", ["dog", "cow"])
def test_embedded_models_are_small_and_know_how_sure_they_are(category):
    lifter, usual = load_model(embedded_model(category)), preset("photographs")
    assert lifter.config.refine == usual.refine and lifter.config.model == usual.model
    assert lifter.calibration is not None and embedded_model(category).stat().st_size < 3.2e6


def test_a_model_of_an_earlier_version_is_read(tmp_path):
    """Settings by former names in one table, weights in 16 bits, and a calibration of figures that meant other things,
    which does not count."""
    lifter = Lifter(toy_surface(), tiny()).eval()
    lifter.calibration = Calibration(np.zeros(3), np.ones(3), np.ones(4))
    content = read_content(save_model(lifter, tmp_path / "model.pt"), "model")
    assert load_model(tmp_path / "model.pt").calibration is not None
    found, now = flat(plain(lifter.config)), former_names(TrainConfig)
    content["config"] = {old: found[name] for old, name in now.items()}
    content["weights"] = {name: value.half() for name, value in content["weights"].items()}
    del content["calibration"]["version"]
    again = load_model(write_torch(tmp_path / "old.pt", content))
    assert again.config == lifter.config and again.calibration is None
    for name, value in lifter.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_a_state_of_former_names_is_other_settings_that_resume_accepts(tmp_path):
    first = trainer(tmp_path, {"optim.steps": 4})
    first.run()
    state = read_content(tmp_path / "state.pt", "state")
    now = former_names(TrainConfig)
    found = flat(state["config"])
    state["config"], state["recipe"] = {old: found[name] for old, name in now.items()}, "0" * 12
    write_torch(tmp_path / "state.pt", state)
    with pytest.raises(FingerprintMismatch, match="a run of other settings"):
        trainer(tmp_path, {"optim.steps": 4}).resume()
    assert trainer(tmp_path, {"optim.steps": 4}).resume(other_settings=True)
