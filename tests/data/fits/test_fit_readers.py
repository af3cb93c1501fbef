"""One contract for every reader of fits, over trees that the tests write in the published layouts."""

import json
import os
import pickle

import numpy as np
import pytest

from dp3d_data.datasets import FITS, BadInstance, DatasetOptions, open_fits
from dp3d_data.datasets.fits import Fit, picture_size
from dp3d_data.datasets.neutral import write_fits
from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing, UsageError
from pipelines.project import make_plan, read_mask
from pipelines.settings import ProjectConfig
from tests.data.fits.trees import TREES, read_fits, same_fit
from tests.data.hostile import make_hostile

LAYOUTS = sorted(FITS)


def read(name, root):
    return list(read_fits(name, root))


def assert_same_fits(got, wanted):
    assert [type(fit).__name__ for fit in got] == ["Fit"] * len(wanted), got
    assert [fit.instance_id for fit in got] == [fit.instance_id for fit in wanted]
    for one, other in zip(got, wanted, strict=True):
        wrong = [name for name in vars(one) if not same_value(getattr(one, name), getattr(other, name))]
        assert not wrong, [(name, getattr(one, name), getattr(other, name)) for name in wrong]


def same_value(one, other):
    if hasattr(one, "kind"):
        return all(same_value(getattr(one, name), getattr(other, name)) for name in vars(one))
    if isinstance(one, np.ndarray) or (isinstance(one, tuple) and isinstance(other, tuple)):
        return np.allclose(one, other, rtol=0, atol=1e-12)
    return one == other


def test_every_reader_has_a_tree():
    dogs = ["stanford-dogs", "smalify", "wldo", "animal3d", "posed-mesh"]
    assert LAYOUTS == sorted(TREES) == sorted([*dogs, "up3d", "human36m", "3dpw", "neutral"])
    assert all(open_fits(name, DatasetOptions()).name == name for name in LAYOUTS)


def test_an_unknown_dataset_is_named_before_anything_is_read():
    with pytest.raises(UsageError, match="(?s)unknown dataset 'human36'.*smalify.*did you mean 'human36m'"):
        make_plan(ProjectConfig(dataset="human36", path="nowhere"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_tree_means_these_fits(name, tmp_path):
    wanted = TREES[name].write(tmp_path, 0)
    assert_same_fits(read(name, tmp_path), wanted)


@pytest.mark.parametrize("name", LAYOUTS)
def test_reading_twice_gives_the_same_bits(name, tmp_path):
    TREES[name].write(tmp_path, 1)
    first, second = read(name, tmp_path), read(name, tmp_path)
    assert len(first) > 2 and all(same_fit(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_order_is_that_of_names_not_of_the_disk(name, tmp_path, monkeypatch):
    TREES[name].write(tmp_path, 2)
    before = [fit.instance_id for fit in read(name, tmp_path)]
    scandir, listdir = os.scandir, os.listdir

    class Reversed:
        def __init__(self, *arguments):
            with scandir(*arguments) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            return False

        def __iter__(self):
            return iter(self.entries)

    monkeypatch.setattr(os, "scandir", Reversed)
    monkeypatch.setattr(os, "listdir", lambda *arguments: sorted(listdir(*arguments), reverse=True))
    assert [fit.instance_id for fit in read(name, tmp_path)] == before


@pytest.mark.parametrize("name", LAYOUTS)
def test_names_are_unique_and_instances_of_an_image_share_its_name(name, tmp_path):
    TREES[name].write(tmp_path, 3)
    fits = read(name, tmp_path)
    assert len({fit.instance_id for fit in fits}) == len(fits)
    assert all(fit.group and fit.image_id and not os.path.isabs(fit.image_id) for fit in fits)
    assert {fit.body.partition("-")[0] for fit in fits} <= {"smpl", "smal"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_converts_to_neutral_and_back(name, tmp_path):
    TREES[name].write(tmp_path / "tree", 4)
    fits = read(name, tmp_path / "tree")
    assert write_fits(tmp_path / "neutral.json", fits) == len(fits)
    again = read("neutral", tmp_path / "neutral.json")
    assert_same_fits(again, fits)
    arrays = ("pose", "betas", "translation")
    assert all(
        np.array_equal(getattr(a, key), getattr(b, key)) for a, b in zip(again, fits, strict=True) for key in arrays
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_of_something_else_shows_expected_and_found(name, tmp_path):
    with pytest.raises(InputMissing, match="no such folder"):
        read(name, tmp_path / "none")
    with pytest.raises(InputMissing, match="(?s)no fits here.*got: an empty folder.*expected: .*(json|pkl|npz|npy)"):
        read(name, tmp_path)
    for number in range(9):
        (tmp_path / f"holiday_{number}.txt").touch()
    with pytest.raises(InputMissing, match="(?s)no fits here.*holiday_0.txt.*and 3 more.*hint: "):
        read(name, tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_broken_unit_is_a_failure_and_the_rest_is_read(name, tmp_path):
    tree = TREES[name]
    wanted = tree.write(tmp_path, 5)
    tree.spoil(tmp_path)
    got = read(name, tmp_path)
    failures = [fit for fit in got if isinstance(fit, BadInstance)]
    assert failures and all(failure.message and failure.error and failure.path.exists() for failure in failures)
    kept = {fit.instance_id for fit in got if isinstance(fit, Fit)}
    assert len(kept) == len(wanted) - tree.spoilt and kept < {fit.instance_id for fit in wanted}


class Evil:
    """A pickle that would make a file if anything of it ran."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if TREES[name].pickles])
def test_a_malicious_pickle_is_refused_and_nothing_runs(name, tmp_path):
    tree = TREES[name]
    wanted = tree.write(tmp_path, 6)
    (tmp_path / tree.pickles).write_bytes(pickle.dumps({"pose": Evil(tmp_path / "ran")}))
    got = read(name, tmp_path)
    failures = [fit for fit in got if isinstance(fit, BadInstance)]
    assert [type(failure.error).__name__ for failure in failures] == ["UnsafePickle"] and "mkdir" in failures[0].message
    assert not (tmp_path / "ran").exists() and len(got) - 1 == len(wanted) - tree.spoilt


@pytest.mark.parametrize("name", LAYOUTS)
def test_random_damage_never_ends_a_reading_with_another_error(name, tmp_path):
    """Bytes of the files changed at random: fits, failures or our own errors, nothing else."""
    TREES[name].write(tmp_path, 7)
    files = sorted(
        path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".json", ".npz", ".npy", ".obj", ".txt")
    )
    rng, outcomes = np.random.default_rng(8), set()
    for _ in range(10):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        spoilt = bytearray(whole)
        for place in rng.integers(0, max(len(whole), 1), 3):
            spoilt[place] = rng.integers(256)
        path.write_bytes(spoilt)
        try:
            outcomes |= {type(fit).__name__ for fit in read(name, tmp_path)}
        except Dp3dError as error:
            outcomes.add(type(error).__name__)
        path.write_bytes(whole)
    assert outcomes <= {"Fit", "BadInstance", "InputCorrupt", "InputMissing"}


@pytest.mark.parametrize("box", ["wide", None, [1, 2, 3], [0, 0, float("nan"), 5], {"x": 1}])
def test_a_bad_box_of_human36m_is_one_failure(tmp_path, box):
    count = len(TREES["human36m"].write(tmp_path, 0))
    path = tmp_path / "annotations/Human36M_subject1_data.json"
    data = json.loads(path.read_text())
    data["annotations"][0]["bbox"] = box
    path.write_text(json.dumps(data))
    found = list(read_fits("human36m", tmp_path))
    assert len(found) == count and [isinstance(one, BadInstance) for one in found] == [True] + [False] * (count - 1)


def test_pictures_of_a_fit_are_opened_with_the_formats_and_limits_of_photographs(tmp_path):
    folder = make_hostile(tmp_path / "pictures")
    for name, match in (
        ("wide.png", "too many pixels"),
        ("bomb.png", "too many pixels"),
        ("postscript.jpg", "not an image"),
    ):
        with pytest.raises(InputCorrupt, match=match):
            picture_size(folder / name)
        with pytest.raises(InputCorrupt, match=match):
            read_mask(folder / name, (64, 48))
    assert picture_size(folder / "plain.jpg") == (64, 48) and read_mask(folder / "plain.jpg", (64, 48)).shape == (
        48,
        64,
    )
