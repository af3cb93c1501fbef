"""Confidence: figures of instances against their errors."""

import numpy as np
import pytest
import torch

from dp3d_data.errors import NothingToDo
from dp3d_data.shards.batch import collate
from dp3d_data.torch_files import write_torch
from dp3d_model.evaluation.evaluator import calibrated
from dp3d_model.evaluation.quality import FEATURES, GOOD, calibrate, features, spread_of
from dp3d_model.lifting.model_file import load_model, save_model
from dp3d_model.lifting.prediction import predict
from dp3d_model.networks.lifter import Lifter
from tests.model.toy import tiny, toy_instances, toy_surface


def population(count=4000, seed=0):
    """Errors that go with two of the features, so that the share of good ones is known for each."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, len(FEATURES)))
    errors = GOOD * np.exp(0.8 * values[:, 0] - 0.5 * values[:, 2] + 0.6 * rng.normal(size=count))
    return values, errors


def test_confidence_is_the_share_of_good_answers():
    values, errors = population()
    found = calibrate(values, errors)
    fresh, truth = population(seed=1)
    sure = found.confidence(fresh)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        chosen = (sure >= low) & (sure < low + 0.2)
        assert abs((truth[chosen] < GOOD).mean() - sure[chosen].mean()) < 0.06
    assert abs(found.slopes[1]) < 0.15 < abs(found.slopes[[0, 2]]).min()


def test_errors_count_as_logarithms_and_overlap_as_it_is():
    figures = {"reprojection": np.array([0.0]), "silhouette_iou": np.array([0.8]), "agreement": np.array([0.997])}
    assert dict(zip(FEATURES, features(figures)[0], strict=True)) == pytest.approx(
        {"reprojection": np.log(0.003), "silhouette_iou": 0.8, "agreement": 0.0}
    )


def test_the_worst_of_a_figure_is_its_least_overlap_or_its_largest_error():
    values = np.array([0.2, np.nan, 0.9, 0.1])
    names = ("silhouette_iou", "confidence", "reprojection")
    found = spread_of(dict.fromkeys(names, values) | {"stretched": values[1:2]})
    for name, worst in zip(names, (0.1, 0.1, 0.9), strict=True):
        assert found.pop(name) == {"median": 0.2, "mean": 0.4, "worst": worst}
    assert not found, "nothing is known of it"


def test_what_is_unknown_counts_as_usual():
    values, errors = population()
    found = calibrate(values, errors)
    unknown = values[:5].copy()
    unknown[:, 1] = np.nan
    usual = values[:5].copy()
    usual[:, 1] = found.usual[1]
    np.testing.assert_allclose(found.confidence(unknown), found.confidence(usual))
    never = np.where(np.arange(len(FEATURES)) == 1, np.nan, values)
    assert np.isfinite(calibrate(never, errors).confidence(never)).all()


def test_nothing_is_learned_from_one_kind_of_answers():
    values, _ = population(50)
    with pytest.raises(NothingToDo, match="too few good or bad"):
        calibrate(values, np.full(50, 0.01))


def test_a_calibration_travels_with_the_model(tmp_path):
    surface = toy_surface()
    worlds = [toy_instances(surface, 40, bend=bend, seed=seed) for seed, bend in enumerate((0.0, 0.9))]
    lifter, figures = calibrated(Lifter(surface, tiny()).eval(), collate(worlds))
    assert figures["instances"] == 80 and figures["rank_correlation"] > 0.5
    assert figures["best_half"] <= figures["surest_half"] + 1e-6 and figures["surest_half"] < figures["error"]
    again = load_model(save_model(lifter, tmp_path / "model.pt"))
    one, two = (next(predict(model, worlds[0])).confidence for model in (lifter, again))
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert ((0 <= one) & (one <= 1)).all() and one.mean() > next(predict(again, worlds[1])).confidence.mean()
    assert torch.load(tmp_path / "model.pt", weights_only=True)["calibration"]["slopes"].shape == (len(FEATURES) + 1,)


def test_a_calibration_of_other_figures_does_not_count(tmp_path):
    values, errors = population()
    lifter = Lifter(toy_surface(), tiny()).eval()
    lifter.calibration = calibrate(np.column_stack([values, values]), errors)
    assert load_model(save_model(lifter, tmp_path / "model.pt")).calibration is None


def test_a_calibration_of_an_earlier_version_does_not_count(tmp_path):
    """Its agreement was another measure."""
    lifter = Lifter(toy_surface(), tiny()).eval()
    lifter.calibration = calibrate(*population())
    content = torch.load(save_model(lifter, tmp_path / "model.pt"), weights_only=True)
    assert load_model(tmp_path / "model.pt").calibration is not None
    for version in (None, 1):
        old = {name: value for name, value in content["calibration"].items() if name != "version"}
        old |= {} if version is None else {"version": version}
        write_torch(tmp_path / "old.pt", content | {"calibration": old})
        assert load_model(tmp_path / "old.pt").calibration is None
