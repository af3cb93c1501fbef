"""Shards and runs of every earlier version are read as they are, verified, and agree with each other."""

import numpy as np
import pytest

from dp3d_data.shards import INSTANCE_SCHEMA, Run, ShardReader, verify
from dp3d_data.shards.schema import ADDED, READABLE, SCHEMA_VERSION
from tests.shared import ROOT

FOLDER = ROOT / "tests" / "data" / "shards" / "versions"
# Columns of later versions that the files of those hold values in.
FILLED = ("visible_area_posed", "content_hash")
OLDER = [version for version in READABLE if version != SCHEMA_VERSION]


@pytest.mark.parametrize("version", OLDER)
def test_shards_of_an_earlier_version_are_whole_and_read(version):
    folder = FOLDER / str(version) / "shards"
    assert verify(folder) == []
    reader = ShardReader(folder)
    assert reader.manifest["schema_version"] == version
    train, val = reader.split("train"), reader.split("val")
    assert (len(train), len(val)) == (5, 3)
    assert np.isfinite(train.keypoints).all() and train.visible.any(axis=1).all()
    [table] = reader.tables("train")
    assert table.schema.equals(INSTANCE_SCHEMA, check_metadata=True)
    for added, names in ADDED.items():
        for name in names:
            assert (table.column(name).null_count == table.num_rows) == (added > version or name not in FILLED)


@pytest.mark.parametrize("version", OLDER)
def test_runs_of_an_earlier_version_are_read(version):
    run = Run.open(FOLDER / str(version) / "synth")
    assert verify(run.folder) == []
    [table] = run.instances()
    assert table.schema.equals(INSTANCE_SCHEMA) and table.num_rows == 4
    assert table.column("true_unit").to_pylist() == [None] * 4


def test_versions_differ_in_their_columns_alone():
    one, two = (ShardReader(FOLDER / version / "shards").split("train") for version in ("1", "2"))
    assert one.ids == two.ids
    np.testing.assert_array_equal(one.keypoints, two.keypoints)
    np.testing.assert_array_equal(one.true_vertices, two.true_vertices)
