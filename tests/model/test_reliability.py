"""What a predicted noise tells, on known answers."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from dp3d_model.evaluation.quality import calibration, rank_correlation, reliability, sparsification


def test_ranks_agree_with_scipy_also_where_values_are_equal():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(0, 6, (2, 40), generator=generator).float()
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.numpy(), b.numpy()).statistic, abs=1e-9)


def test_ranks_see_order_alone():
    """A law: any rising function of either leaves the correlation as it is; a falling one turns its sign."""
    a, b = torch.rand(2, 30, generator=torch.Generator().manual_seed(1))
    assert rank_correlation(a.exp(), b**3) == pytest.approx(rank_correlation(a, b))
    assert rank_correlation(-a, b) == pytest.approx(-rank_correlation(a, b))
    assert rank_correlation(a, a) == pytest.approx(1.0)
    assert rank_correlation(torch.ones(5), torch.rand(5)) == 0.0


def test_dropping_by_the_error_itself_is_the_oracle():
    errors = torch.arange(1.0, 101.0)
    assert sparsification(errors, errors) == pytest.approx([np.arange(1, 101 - 10 * i).mean() for i in range(10)])
    assert sparsification(-errors, errors)[9] == pytest.approx(95.5)


def test_bins_hold_all_and_rise():
    noise = torch.rand(35, generator=torch.Generator().manual_seed(2))
    rows = calibration(noise, 2.0 * noise)
    assert len(rows) == 10
    assert all(row["error"] == pytest.approx(2.0 * row["predicted"], abs=1e-5) for row in rows)
    assert rows == sorted(rows, key=lambda row: row["predicted"])


def test_a_model_that_knows_its_errors():
    errors = torch.rand(20, 7, generator=torch.Generator().manual_seed(3))
    found = reliability(10.0 * errors, errors, errors.mean(1))
    assert found["rank_correlation_of_vertices"] == 1.0
    assert found["rank_correlation_of_instances"] == 1.0
    assert found["sparsification"]["gap"] == 0.0
    assert all(row["predicted"] == pytest.approx(row["error"], abs=2e-6) for row in found["calibration"])


def test_the_gap_is_the_mean_distance_from_the_oracle_and_ranks_have_four_digits():
    noise, errors = torch.rand(2, 20, 7, generator=torch.Generator().manual_seed(4))
    whole = errors.mean(1)
    found = reliability(noise, errors, whole)
    by_noise, oracle = sparsification(noise.mean(1), whole), sparsification(whole, whole)
    assert found["sparsification"]["gap"] == pytest.approx(np.mean(by_noise) - np.mean(oracle), abs=1e-6)
    assert found["rank_correlation_of_vertices"] == round(rank_correlation(noise.ravel(), errors.ravel()), 4)
    assert found["rank_correlation_of_instances"] == round(rank_correlation(noise.mean(1), whole), 4)
    assert found["calibration"] == calibration(noise.ravel() / 10, errors.ravel())
