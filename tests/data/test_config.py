"""Settings: TOML there and back, near matches, ranges, and fingerprints that depend on content alone."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.config import cache_dir, fingerprint_of, from_mapping, read_toml, setting, to_toml, workspace
from dp3d_data.errors import ConfigError, InputMissing


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A configuration with one field of each kind."""

    images: tuple[str, ...] = setting((), "Images.")
    score: float = setting(0.5, "Score.", minimum=0, maximum=1)
    device: str = setting("cpu", "Device.", choices=("cpu", "cuda"))
    count: int | None = setting(None, "Count.", minimum=1)
    boxes: bool = setting(False, "Boxes.")


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",)))),
    st.floats(0, 1),
    st.sampled_from(("cpu", "cuda")),
    st.none() | st.integers(1, 9),
    st.booleans(),
)
def test_a_configuration_survives_toml(tmp_path_factory, images, score, device, count, boxes):
    config = Sample(images=tuple(images), score=score, device=device, count=count, boxes=boxes)
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert from_mapping(Sample, read_toml(path)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scor": 0.1}, "unknown setting 'scor'.*did you mean 'score'"),
        ({"score": 2}, "'score' is out of range"),
        ({"score": float("nan")}, "'score' is out of range"),
        ({"score": "high"}, "'score' has the wrong type"),
        ({"count": True}, "'count' has the wrong type"),
        ({"device": "cuda0"}, "unknown value of 'device'.*did you mean 'cuda'"),
        ({"images": "one.jpg"}, "'images' has the wrong type"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ConfigError) as error:
        from_mapping(Sample, values, path="run.toml")
    assert re.search(message, str(error.value).replace("\n", " "))
    assert str(error.value).startswith("run.toml: ")


def test_files_that_are_no_toml(tmp_path):
    with pytest.raises(InputMissing, match="no such configuration file"):
        from_mapping(Sample, read_toml(tmp_path / "none.toml"))
    (tmp_path / "broken.toml").write_bytes(b"score = \xff")
    with pytest.raises(ConfigError, match="not a TOML file"):
        from_mapping(Sample, read_toml(tmp_path / "broken.toml"))


def test_the_fingerprint_ignores_order_and_knows_every_value():
    assert fingerprint_of({"a": 1, "b": (1, 2)}) == fingerprint_of({"b": [1, 2], "a": 1})
    assert fingerprint_of(Sample()) != fingerprint_of(replace(Sample(), score=0.25))
    assert len(fingerprint_of("x")) == 12


def test_workspace_and_cache_follow_the_environment(monkeypatch):
    monkeypatch.setenv("DP3D_WORKSPACE", "/w")
    monkeypatch.setenv("DP3D_CACHE", "/c")
    assert (workspace("dog"), cache_dir()) == (Path("/w/dog"), Path("/c"))
