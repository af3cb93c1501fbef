"""Rows of an ablation, and experiments that are found again and go on."""

import pytest

from dp3d_data.config import changed
from dp3d_data.errors import ConfigError, FingerprintMismatch, UsageError
from dp3d_data.files import read_json
from dp3d_model.config import preset, preset_values
from dp3d_model.experiments.ablation import (
    OTHERS,
    SETS,
    added_row,
    chosen_rows,
    examples,
    rows_of,
    run_ablation,
    with_steps,
)
from dp3d_model.experiments.robustness import (
    draw_halves,
    draw_noise,
    judged,
    levels,
    lose_lower_halves,
    measure_noise,
    noise_markdown,
    ratios,
    train_noise,
)
from dp3d_model.experiments.study import Runs
from dp3d_model.lifting.model_file import load_model
from dp3d_model.networks.lifter import Lifter
from tests.model.toy import source_of, tiny, toy_instances, toy_surface

SURFACE = toy_surface()
TRAIN, TEST = toy_instances(SURFACE, 40, bend=0.3), toy_instances(SURFACE, 12, seed=1, bend=0.3, name="test")


def base(*changes):
    return tiny({"optim.steps": 2, "run.save_every": 1, "loss.canonical": 0.0}, *changes)


def runs(folder, **changes):
    return Runs(SURFACE, source_of(TRAIN), TEST, "test", folder, **changes)


def test_every_row_differs_from_the_full_model_in_what_it_says():
    full = preset("quick")
    rows = rows_of(full)
    assert rows["full"] == ("full", full)
    assert all(config != full for key, (_, config) in rows.items() if key != "full")
    for key, title, loss in (
        ("arap", "without ARAP", "arap"),
        ("canonicalisation", "with canonicalisation", "canonical"),
    ):
        assert rows[key][0] == title
        assert getattr(rows[key][1].loss, loss) == {"arap": 0.0, "canonical": 0.1}[loss]
    supplement = rows_of(preset("stanford-dogs"))
    assert supplement["canonicalisation"][0] == "without canonicalisation"
    assert supplement["camera"][0] == "with closed-form camera"


def test_other_methods_keep_their_own_recipes():
    rows = rows_of(preset("quick", {"run.seed": 5, "optim.learning_rate": 0.1, "optim.batch": 64}))
    for name in OTHERS:
        _, config = rows[name]
        assert config.run.seed == 5
        assert changed(config, preset_values(name)) == config
    assert rows["c3dpo"][1].model.network
    assert not rows["fit"][1].model.network


def test_rows_are_chosen_by_name_and_by_set():
    full = preset("quick")
    assert list(chosen_rows(full, ("linear",), ())) == ["full", "linear"]
    assert set(chosen_rows(full, ("supplement",), ())) == set(SETS["supplement"])
    assert len(chosen_rows(full, (), ())) == len(rows_of(full))
    with pytest.raises(UsageError, match="no row 'entropi'") as failure:
        chosen_rows(full, ("entropi",), ())
    assert "entropy" in str(failure.value)


def test_a_row_in_words():
    key, (title, config) = added_row(
        preset("quick"), "Wide and deep: model.width=2048, model.blocks=8, model.camera=learned"
    )
    assert (key, title, config.model.width) == ("wide-and-deep", "Wide and deep", 2048)
    assert (config.model.blocks, config.model.camera) == (8, "learned")
    _, (_, slow) = added_row(preset("quick"), "slow:optim.learning-rate=1e-5,model.network=false")
    assert slow.optim.learning_rate == 1e-5
    for words in ("wide", "wide:", ":model.width=3"):
        with pytest.raises(UsageError, match="not a row"):
            added_row(preset("quick"), words)
    with pytest.raises(ConfigError, match="not a setting and its value"):
        added_row(preset("quick"), "wide:model.width")
    with pytest.raises(ConfigError, match="(?s)unknown setting 'widht'.*did you mean 'model.width'"):
        added_row(preset("quick"), "wide:widht=3")
    with pytest.raises(ConfigError, match="'model.width' has the wrong type"):
        added_row(preset("quick"), "wide:model.width=broad")
    with pytest.raises(UsageError, match="there is a row 'linear' already"):
        chosen_rows(preset("quick"), (), ("linear:model.width=3",))


@pytest.mark.slow
def test_steps_are_those_of_the_base_and_time_is_shared_with_other_methods(tmp_path):
    full = base({"optim.epochs": 0})
    rows = {key: row for key, row in rows_of(full).items() if key in ("full", "linear", "c3dpo", "rigid")}
    found = {key: config.optim.steps for key, _, config in with_steps(rows, runs(tmp_path))}
    assert (found["full"], found["linear"], found["rigid"]) == (2, 2, 0)
    assert found["c3dpo"] >= 1
    paces = read_json(tmp_path / "pace.json", "measurement")
    assert len(paces) == 2
    again = {key: config.optim.steps for key, _, config in with_steps(rows, runs(tmp_path))}
    assert again == found
    timed = {key: config.optim.steps for key, _, config in with_steps(rows, runs(tmp_path), minutes=0.01)}
    assert timed["full"] == timed["linear"] == max(1, round(0.6 / runs(tmp_path).pace(full)))


@pytest.mark.slow
def test_an_ablation_is_written_row_by_row_and_found_again(tmp_path):
    rows = chosen_rows(base(), ("arap", "rigid"), ("flat:model.blendshapes=0",))
    lines: list[str] = []
    result = run_ablation(rows, runs(tmp_path), lines.append, drawn=2)
    assert list(result["rows"]) == ["full", "arap", "rigid", "flat"]
    assert result["rows"]["flat"]["changes"] == {"model.blendshapes": 0}
    assert len(lines) == 4
    text = (tmp_path / "ablation.md").read_text()
    for words in ("| without ARAP | 2 |", "| rigid template |  |", "`loss.arap = 0.0`", "against full"):
        assert words in text
    for name in ("ablation.png", "ablation-examples.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    assert load_model(tmp_path / "runs" / "full").config == rows["full"][1]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    assert run_ablation(rows, runs(tmp_path), lines.append, drawn=2) == result
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}


def test_a_run_that_was_cut_short_goes_on_to_the_same_end(tmp_path):
    class Killed(Exception):
        pass

    def kill(name, step, steps):
        if step == 1:
            raise Killed

    whole = runs(tmp_path / "whole").trained("full", base())
    with pytest.raises(Killed):
        runs(tmp_path / "cut", progress=kill).trained("full", base())
    seen: list[int] = []
    again = runs(tmp_path / "cut", progress=lambda name, step, steps: seen.append(step)).trained("full", base())
    assert seen[-1] == 2
    assert all((a == b).all() for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_row_of_other_settings_is_refused_or_discarded(tmp_path):
    runs(tmp_path).trained("full", base())
    with pytest.raises(FingerprintMismatch):
        runs(tmp_path).trained("full", base({"model.parts": 3}))
    assert runs(tmp_path, overwrite=True).trained("full", base({"model.parts": 3})).config.model.parts == 3


def test_examples_go_from_easy_to_hard():
    order = toy_instances(SURFACE, 12, seed=1).true_scale
    found = [float(order[TEST.ids.index(name)]) for name in examples(TEST, 3, order).ids]
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_noise_is_measured_in_every_cell_and_kept(tmp_path):
    grid = levels((0.0, 0.02), (0.0, 0.5, 0.8), seed=1)
    models = {"still": (Lifter(SURFACE, preset("rigid", {"model.basis": 12})).eval(), "digest")}
    told: list[tuple] = []
    result = measure_noise(models, TEST, "test", grid, tmp_path, lambda *words: told.append(words))
    rows = result["models"]["still"]
    assert len(rows) == 6
    assert told[-1] == ("still", 6, 6)
    assert ratios(rows)[0.0, 0.0] == 1.0
    assert len(judged(rows)) == 2
    assert all(row["mpjpe_flip"] <= row["mpjpe"] for row in rows)
    assert measure_noise(models, TEST, "test", grid, tmp_path, lambda *words: None) == result
    text = noise_markdown(result, "Noise")
    assert "| 80% |" in text
    assert "50% hidden" in text
    draw_noise(result, tmp_path / "noise.png", "Noise")
    assert (tmp_path / "noise.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_models_are_trained_on_corrupted_keypoints(tmp_path):
    said: list[str] = []
    result = train_noise(base(), runs(tmp_path), levels((0.0, 0.05), (0.0,)), said.append)
    assert [row["noise"] for row in result["models"]["trained on it"]] == [0.0, 0.05]
    halves = lose_lower_halves(base(), runs(tmp_path), (0.0, 1.0), "z", said.append)
    assert [row["rate"] for row in halves["rows"]] == [0.0, 1.0]
    one = halves["rows"][0]
    assert min(one["upper"], one["lower"]) <= one["mpjpe"] <= max(one["upper"], one["lower"])
    assert len(said) == 4
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "noise-0-hidden-0", "noise-5-hidden-0", "lower-half-0", "lower-half-100",
    }  # fmt: skip
    draw_halves(halves, tmp_path / "halves.png")
    assert (tmp_path / "halves.png").is_file()
