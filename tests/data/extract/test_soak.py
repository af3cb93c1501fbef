"""The soak in small: the embedded network, killed and resumed; the long one is python -m tests.bench.soak."""

import sys

import pytest

from tests.bench import soak


@pytest.mark.slow
def test_a_small_soak_ends_with_the_same_bytes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["soak", "--images", "40", "--part", "4", "--kills", "2", "--workers", "1"])
    monkeypatch.setattr(soak, "ALLOWED", 2.0)
    assert soak.main() == 0
    assert "0 differ" in capsys.readouterr().out


def test_growth_compares_what_comes_later_with_the_second_tenth():
    flat = [(done, 100) for done in range(101)]
    assert soak.growth(flat, 100) == 1.0
    assert soak.growth([(done, 100 + done) for done in range(101)], 100) == pytest.approx(199 / 120)
    assert (
        soak.growth(flat[:15], 100) is None
        and soak.growth([(done, 900 if done < 5 else 100) for done in range(101)], 100) == 1.0
    )
