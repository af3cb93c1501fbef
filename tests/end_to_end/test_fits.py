"""Fits of a body model to a trained model: published pickles, projection, filter, shards of a vertex subset, training,
evaluation.

The model is random, its files are written by the test in the published layout, chumpy objects included.
"""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dp3d_data.config import workspace
from dp3d_data.shards import ShardReader
from tests.data.bodies.body_pickles import old_pickle, published
from tests.data.project.dogs import dog_fit, dog_model
from tests.end_to_end.programs import succeeds

BREEDS, DOGS = 6, 8
STEPS = [
    "dp3d-data body import {root}/my_smpl_00781_4_all.pkl --name dog",
    "dp3d-data project --dataset stanford-dogs --path {root} --body dog --vertices 120 --noise 0.002 --workers 1",
    "dp3d-data build-shards --min-visible-vertices 5",
    "dp3d-data verify",
    "dp3d-model train --steps 3 --batch 8 --set model.width=32 --set model.bottleneck=16 --set model.blocks=1",
    "dp3d-model evaluate",
]


def write_dogs(root):
    """The model's pickle, and a json of each dog below fits/BREED; of the first dog the image shows less than a
    tenth."""
    root.mkdir()
    (root / "my_smpl_00781_4_all.pkl").write_bytes(old_pickle(published(dog_model())))
    for number in range(BREEDS * DOGS):
        fit = dog_fit(number)
        folder = root / "fits" / f"n{number % BREEDS:08d}-breed"
        folder.mkdir(parents=True, exist_ok=True)
        camera = {"kind": "perspective", "focal": fit.camera.focal, "centre": fit.camera.centre}
        moved = fit.camera.translation + ([2.6, 0, 0] if number == 0 else [0, 0, 0])
        camera |= {"rotation": fit.camera.rotation.tolist(), "translation": moved.tolist()}
        record = {name: getattr(fit, name).tolist() for name in ("pose", "betas", "joint_scales", "translation")}
        text = json.dumps(record | {"camera": camera, "image_size": fit.image_size})
        (folder / f"n{number % BREEDS:08d}_{number}.json").write_text(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workspace after every command."""
    place = tmp_path_factory.mktemp("fits")
    write_dogs(place / "root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_WORKSPACE", str(place / "dp3d"))
        for line in STEPS:
            succeeds(line.format(root=place / "root"))
        yield workspace("dog")


def test_little_visible_area_is_left_out_with_its_value(folder):
    rejects = {row["instance_id"]: row for row in pq.read_table(folder / "shards" / "rejects.parquet").to_pylist()}
    (row,) = rejects.values()
    assert row["reason"] == "small visible area" and 0.05 < row["value"] < 0.1
    areas = {
        r["instance_id"]: r["visible_area"]
        for r in pq.read_table(folder / "project" / "instances-00000.parquet").to_pylist()
    }
    assert areas[row["instance_id"]] == row["value"] and (np.array(list(areas.values())) < 0.1).sum() == 1


def test_the_shards_keep_the_map_of_the_subset(folder):
    reader = ShardReader(folder / "shards")
    kept = np.array(reader.manifest["subset"]["vertices"])
    train = reader.split("train")
    assert len(kept) == 120 and not np.delete(train.visible, kept, axis=1).any()
    assert train.true_vertices.shape[1] == reader.template.num_vertices > 120


def test_training_on_the_subset_is_measured_on_the_whole_surface(folder):
    result = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    assert result["instances"] > 0 and len(result["models"]) >= 2
