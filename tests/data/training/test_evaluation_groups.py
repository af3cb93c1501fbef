"""The evaluation by group, of several animals in an image, and of annotated keypoints."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.detection.training.evaluation import Marks, Tally, examine, groups_of, scenes_with_truth, view_name
from dp3d_data.detection.training.metrics import TrueObject, share_within
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.geometry import load_template
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.geometry.renderer import view_rotation
from dp3d_data.geometry.subsets import DOG, named_keypoints
from dp3d_data.geometry.visibility import visible_vertices
from dp3d_data.synthesis import World, WorldConfig
from pipelines.annotated import Pictures
from tests.synthetic_predictor import KnownObject, SyntheticPredictor, image_key


@pytest.fixture(scope="module")
def scenes():
    return list(scenes_with_truth(load_template("dog"), 0, 96, 6))


@pytest.fixture(scope="module")
def dog_alone():
    return World(load_template("dog"), WorldConfig(seed=1, size=96, identity_images=1)).sample(0)


def perfect(scenes) -> SyntheticPredictor:
    known = {}
    for image, truth in scenes:
        known[image_key(image)] = [KnownObject(tuple(one.box), np.where(one.mask, one.vertex_map, -1)) for one in truth]
    return SyntheticPredictor(known, load_template("dog").num_vertices, {"dog": 0})


@pytest.mark.parametrize(
    ("azimuth", "elevation", "name"),
    [(0, 0, "front"), (40, 10, "front"), (90, 0, "side"), (-100, 20, "side"),
     (180, 0, "rear"), (-170, 30, "rear"), (30, 70, "above"), (0, -60, "below")],
)  # fmt: skip
def test_views_are_named_for_where_the_viewer_stands(azimuth, elevation, name):
    assert view_name(view_rotation(np.deg2rad(azimuth), np.deg2rad(elevation), 0.2)) == name


def test_every_animal_belongs_to_one_group_of_each_family(scenes):
    for _, truth in scenes:
        for one in truth:
            assert [group.partition(":")[0] for group in one.groups] == ["view", "seen", "border"]


@pytest.mark.parametrize(("share", "name"), [(0.3, "under 50%"), (0.6, "50% to 80%"), (0.9, "over 80%")])
def test_the_share_seen_is_of_what_faces_the_viewer(dog_alone, share, name):
    facing = visible_vertices(dog_alone.true_vertices, load_template("dog").faces)
    shown = ~facing
    shown[np.flatnonzero(facing)[: round(share * facing.sum())]] = True
    assert groups_of(replace(dog_alone, visible=shown), load_template("dog").faces, 96)[1] == f"seen: {name}"


@pytest.mark.parametrize(("share", "name"), [(0.0, "whole"), (0.01, "whole"), (0.03, "cut")])
def test_an_animal_is_cut_where_more_than_a_fiftieth_lies_outside(dog_alone, share, name):
    places = np.full_like(dog_alone.keypoints, 50.0)
    places[: round(share * len(places)), 1] = 96.0
    assert groups_of(replace(dog_alone, keypoints=places), load_template("dog").faces, 96)[2] == f"border: {name}"


def test_only_visible_keypoints_of_the_template_are_missed():
    named = np.array([[1.0, 2, 1], [3, 4, 0], [5, 6, 2]])
    truth = TrueObject(np.zeros(4), np.zeros((2, 2), dtype=bool), named=named)
    assert Marks.missed(truth, np.array([7, 8, 9])).named.tolist() == pytest.approx(
        [np.inf, np.nan, np.inf], nan_ok=True
    )
    assert Marks.missed(truth, np.array([7, 8, -1])).named.tolist() == pytest.approx(
        [np.inf, np.nan, np.nan], nan_ok=True
    )


def test_perfect_answers_score_perfectly_in_every_group_with_several_animals_in_an_image(scenes):
    distances = geodesic_distances(load_template("dog"))
    tally = examine(perfect(scenes), scenes, distances)
    assert len(tally.objects) == sum(len(truth) for _, truth in scenes)
    assert max(len(truth) for _, truth in scenes) > 1 and tally.spurious(0) == 0
    total = tally.result()
    assert total["ap50"] == 1 and total["geodesic_mean"] == 0 and total["mask_iou"] > 0.95
    groups = tally.by_group()
    for family in ("view", "seen", "border"):
        assert sum(one["objects"] for name, one in groups.items() if name.startswith(family)) == total["objects"]
    assert all(one["ap50"] == 1 for one in groups.values())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=12))
def test_a_group_that_holds_everything_scores_as_the_whole(rows):
    objects = [Marks((kind, "all"), found=hit, mask_overlap=0.5) for kind, hit in rows]
    detections = [(0.9 - 0.05 * place, place if hit else -1) for place, (_, hit) in enumerate(rows)]
    tally = Tally(objects, detections)
    assert tally.result("all") == pytest.approx(tally.result(), nan_ok=True)
    parts = tally.by_group()
    assert sum(parts[kind]["found"] for kind in "ab" if kind in parts) == tally.result()["found"]


def test_annotated_keypoints_are_found_where_their_vertices_are(scenes):
    body = load_template("dog")
    ids, _ = named_keypoints(DOG, vertices=body.num_vertices)
    image, truth = max(scenes, key=lambda scene: scene[1][0].mask.sum())
    shown = np.isin(ids, truth[0].vertex_map[truth[0].mask])
    named = np.column_stack([truth[0].keypoints[ids], shown])
    annotated = [TrueObject(truth[0].box, truth[0].mask, named=named)]
    tally = examine(perfect([(image, truth)]), [(image, annotated)], geodesic_distances(body), named_vertices=ids)
    result = tally.result()
    assert result["annotated_keypoints"] == shown.sum() > 2
    assert result["pck_10"] == result["pck_10_found"] > 0.9
    blind = SyntheticPredictor({}, body.num_vertices, {"dog": 0})
    missed = examine(blind, [(image, annotated)], geodesic_distances(body), named_vertices=ids)
    assert missed.result()["pck_15"] == 0 and np.isnan(missed.result()["pck_15_found"])


def test_the_dogs_keypoints_are_mirror_images():
    body, ids = load_template("dog"), named_keypoints(DOG)[0]
    pairs = [(0, 6), (1, 7), (2, 8), (3, 9), (4, 10), (5, 11), (14, 15), (18, 19), (20, 21)]
    assert all(body.symmetry[ids[left]] == ids[right] and body.vertices[ids[left], 1] > 0 for left, right in pairs)
    assert all(abs(body.vertices[ids[middle], 1]) < 0.01 for middle in (12, 13, 16, 17, 22, 23))


def test_tables_of_keypoints_that_are_none(tmp_path):
    with pytest.raises(InputMissing, match="no such table of keypoints"):
        named_keypoints(tmp_path / "none.csv")
    path = tmp_path / "marks.csv"
    for text in ("index,vertex\n24,1\n", "index,vertex\n0,99\n", "a,b\n1,2\n"):
        path.write_text(text)
        with pytest.raises(InputCorrupt, match="not a table of keypoints"):
            named_keypoints(path, vertices=50)
    path.write_text("index,vertex\n3,7\n")
    vertices, names = named_keypoints(path)
    assert vertices[3] == 7 and (vertices == -1).sum() == 23 and names[3] == "keypoint 3"


def test_share_within_counts_the_border():
    assert share_within(np.array([0.1, 0.2, np.inf]), 0.1) == pytest.approx(1 / 3)
    assert np.isnan(share_within(np.zeros(0), 0.1))


def test_pictures_are_as_many_as_asked_for(scenes, tmp_path):
    pictures = Pictures(str(tmp_path), "synthetic", 2, perfect(scenes), load_template("dog"))
    examine(perfect(scenes), scenes, watch=pictures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["synthetic-000.jpg", "synthetic-001.jpg"]
