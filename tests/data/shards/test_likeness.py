"""Shapes of instances do not know shift, scale and turn; near-duplicates are left out by them; lists leave out too."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dp3d_data.config import fingerprint_of
from dp3d_data.files import read_json
from dp3d_data.filters import LISTED_OUT, NEAR_DUPLICATE, NOT_LISTED, FilterConfig
from dp3d_data.shards.instances import instance_batch
from dp3d_data.shards.likeness import distances, near_duplicates, patches_of, shapes_of
from pipelines.cli.data import main
from pipelines.shards import ShardPlan
from tests.data.shards.samples import grid_template, row, run
from tests.references.shards import near_duplicates_slow, shape_distance_slow, shape_slow

PATCHES = patches_of(grid_template())


def shapes(rows):
    return shapes_of(pa.Table.from_batches([instance_batch(rows)]), PATCHES)


def moved(one, scale=1.0, angle=0.0, shift=(0.0, 0.0), noise=0.0, seed=0, **changes):
    """The row with its keypoints moved in the image."""
    points = (one["keypoints_x"] + 1j * one["keypoints_y"]) * scale * np.exp(1j * angle) + complex(*shift)
    rng = np.random.default_rng(seed)
    points = points + noise * (rng.normal(size=len(points)) + 1j * rng.normal(size=len(points)))
    axes = {"keypoints_x": points.real.astype(np.float32), "keypoints_y": points.imag.astype(np.float32)}
    return one | axes | changes


def test_shapes_do_not_know_shift_scale_and_turn():
    one = row(0)
    same = shapes([one, moved(one, 0.3, 2.0, (400, -50)), row(1)])
    assert distances(same[0], same)[:2].max() < 1e-3 < 0.5 < distances(same[0], same)[2]
    assert np.allclose(np.linalg.norm(same, axis=1), 1, atol=1e-5)


def test_a_mirrored_instance_is_another():
    one = row(0)
    mirrored = one | {"keypoints_x": 256 - one["keypoints_x"]}
    both = shapes([one, mirrored])
    assert distances(both[0], both)[1] > 0.3


def test_shapes_are_those_of_the_slow_twin():
    for index in range(3):
        one = row(index)
        slow = shape_slow(one["vertex_ids"], one["keypoints_x"] + 1j * one["keypoints_y"], PATCHES)
        assert np.allclose(shapes([one])[0], slow, atol=1e-5)
    assert np.allclose(PATCHES.sum(axis=1), 1) and PATCHES.shape == (grid_template().num_vertices, 32)


def test_shapes_do_not_depend_on_their_neighbours():
    rows = [row(index) for index in range(6)]
    assert np.array_equal(shapes(rows), np.concatenate([shapes(rows[:2]), shapes(rows[2:])]))


def test_distances_are_those_of_the_slow_twin():
    some = shapes([row(index) for index in range(5)])
    found = [distances(some[0], some)[i] for i in range(5)]
    assert np.allclose(found, [shape_distance_slow(some[0], other) for other in some], atol=2e-3)


def test_what_shows_nothing_is_near_to_nothing():
    one = row(0)
    still = one | {"keypoints_x": 0 * one["keypoints_x"], "keypoints_y": 0 * one["keypoints_y"]}
    lost = one | {"keypoints_x": np.nan * one["keypoints_x"]}
    some = shapes([still, still, lost, one])
    assert not some[:3].any() and np.isinf(distances(some[0], some)).all()
    assert near_duplicates(some, 0.5)[0].tolist() == [-1] * 4
    assert near_duplicates(some[:0], 0.5)[0].tolist() == []


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.4, 1.0])
def test_near_duplicates_are_those_of_the_slow_twin(threshold):
    rows = [moved(row(i % 12), noise=0.4 * (i // 12), angle=i, seed=i) for i in range(60)]
    some = shapes(rows)

    def apart(one, other):
        return distances(one, other[None])[0]

    first, distance = near_duplicates(some, threshold)
    assert first.tolist() == near_duplicates_slow(some, threshold, apart)
    gone = first >= 0
    assert gone.any() and np.isnan(distance[~gone]).all() and (distance[gone] < threshold).all()
    assert (first[first[gone]] == -1).all(), "each is near to a kept one: no chain draws far ones in"


def burst(folder):
    """Twelve photographs; of each of the first four two more of a burst."""
    rows = [row(i, image_hash=f"{i:064x}") for i in range(12)]
    again = [
        moved(row(i % 4), 1.1, 0.05, (3, 4), 0.3, seed=i, instance_id=f"again{i}", image_id=f"again{i}")
        | {"image_hash": f"{100 + i:064x}"}
        for i in range(8)
    ]
    return run(folder, rows + again, part=5)


def built(folder, out, *words):
    words = ["build-shards", "--input", str(folder), "--out", str(out), *words]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return read_json(out / "manifest.json", "manifest", seal="manifest_sha256")


def test_a_build_leaves_near_duplicates_out_and_accounts_for_them(tmp_path):
    burst(tmp_path / "run")
    whole = built(tmp_path / "run", tmp_path / "whole")
    assert whole["account"]["kept"] == 20
    for workers in ("1", "2"):
        found = built(tmp_path / "run", tmp_path / workers, "--near-duplicates", "0.1", "--workers", workers)
        assert found["account"]["rejected"] == {NEAR_DUPLICATE: 8} and found["account"]["kept"] == 12
    assert {p.name: p.read_bytes() for p in (tmp_path / "1").iterdir() if p.is_file()} == {
        p.name: p.read_bytes() for p in (tmp_path / "2").iterdir() if p.is_file()
    }
    rejects = pq.read_table(tmp_path / "1" / "rejects.parquet").to_pylist()
    assert {one["instance_id"] for one in rejects} == {f"again{i}" for i in range(8)}
    assert all(0 < one["value"] < 0.1 for one in rejects)


def test_a_list_leaves_out_whatever_the_split(tmp_path):
    burst(tmp_path / "run")
    names = tmp_path / "out.txt"
    names.write_text("# of no use\nagain3,out\n\nimage0\tout\n")
    found = built(tmp_path / "run", tmp_path / "shards", "--split-list", str(names))
    assert set(found["splits"]) == {"train", "val"}, "the rest goes by ratio"
    assert found["account"]["rejected"] == {LISTED_OUT: 3}
    left = {one["instance_id"] for one in pq.read_table(tmp_path / "shards" / "rejects.parquet").to_pylist()}
    assert left == {"again3", "extract0", "extract1"}
    assert found["settings"]["left_out"]["names"] == 2


def test_a_list_may_leave_out_and_divide(tmp_path):
    burst(tmp_path / "run")
    names = tmp_path / "list.txt"
    names.write_text("image0,val\nextract0,out\nimage1,train\n")
    found = built(tmp_path / "run", tmp_path / "shards", "--split-list", str(names))
    assert found["account"]["kept"] == 3 and found["account"]["rejected"] == {LISTED_OUT: 1, NOT_LISTED: 16}


def test_shards_of_earlier_versions_are_known_again():
    """The fingerprint of settings without near-duplicates and without a list is that of the versions before both."""
    plan = ShardPlan(filters=FilterConfig(), shard_bytes=9)
    assert fingerprint_of(plan.settings()) == "d91cf3d91ea1"
    others = replace(plan, left_out=frozenset({"a"})), replace(plan, filters=FilterConfig(near_duplicates=0.1))
    assert len({fingerprint_of(one.settings()) for one in (plan, *others)}) == 3


def test_a_shape_exactly_as_far_as_the_threshold_is_kept():
    rng = np.random.default_rng(4)
    shapes = rng.normal(size=(2, 6)) + 1j * rng.normal(size=(2, 6))
    shapes = (shapes / np.linalg.norm(shapes, axis=1, keepdims=True)).astype(np.complex64)
    apart = float(distances(shapes[0], shapes[1:])[0])
    assert near_duplicates(shapes, apart)[0].tolist() == [-1, -1]
    assert near_duplicates(shapes, apart + 1e-5)[0].tolist() == [-1, 0]
