"""The training loop by itself, on a network of one layer."""

import json
import math
import time
from dataclasses import replace
from itertools import repeat

import pytest
import torch

from dp3d_data.errors import TrainingDiverged
from dp3d_data.fitting import FitSettings, TrainingLog, TrainingState, copied, fit, means

CONFIG = FitSettings(steps=6, learning_rate=lambda step: 0.1, ema_decay=0.9, save_every=2, log_every=2)


def fresh():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    return TrainingState(module, optimiser, module, copied(module.state_dict().items()))


def squares(state, poison=None):
    """Gradients of the mean square of the answers; `poison` changes the loss of a step."""

    def gradients(batch, step):
        total = state.module(batch).square().mean()
        total = poison(step, total) if poison else total
        total.backward()
        return {"total": total.detach()}

    return gradients


def run(state, folder, config=CONFIG, **more):
    """Steps and losses, the losses of lines of metrics, and the steps at which the state was saved."""
    seen, saved = [], []
    batches = repeat(torch.ones(4, 3))
    poison = more.pop("poison", None)
    fit(
        state,
        squares(state, poison),
        batches,
        config,
        folder / "state.pt",
        lambda: saved.append(state.step),
        on_step=lambda *told: seen.append(told),
        **more,
    )
    return seen, saved


def test_it_saves_before_the_first_step_and_logs_and_saves_the_last(tmp_path):
    seen, saved = run(fresh(), tmp_path, replace(CONFIG, steps=5), log=TrainingLog(tmp_path, 0))
    assert saved == [0, 2, 4, 5] and [step for step, _, row in seen if row] == [2, 4, 5]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": step, "learning_rate": 0.1, **losses} for step, losses, row in seen if row]


def test_lines_of_metrics_may_be_means(tmp_path):
    seen, _ = run(fresh(), tmp_path, replace(CONFIG, log_means=True))
    losses = [told["total"] for _, told, _ in seen]
    assert [row["total"] for _, _, row in seen if row] == pytest.approx(
        [(losses[i] + losses[i + 1]) / 2 for i in (0, 2, 4)]
    )
    assert means([{"mask": 1.0, "box": 5.0}, {"mask": 3.0}]) == {"mask": 2.0, "box": 5.0}


@pytest.mark.parametrize("forgotten", [(), ("scaler", "usual")])
def test_a_state_is_gone_on_with_also_one_of_an_earlier_version(tmp_path, forgotten):
    whole, first, again = fresh(), fresh(), fresh()
    run(whole, tmp_path)
    run(first, tmp_path, replace(CONFIG, steps=3))
    content = {name: value for name, value in first.content().items() if name not in forgotten}
    again.module.load_state_dict(first.module.state_dict())
    again.restore(content)
    _, saved = run(again, tmp_path)
    assert saved == [4, 6]
    assert torch.equal(again.module.weight, whole.module.weight)
    assert torch.equal(again.average["weight"], whole.average["weight"])


@pytest.mark.parametrize(
    ("poison", "factor", "message"),
    [
        (lambda loss: loss * math.nan, 0.0, "the loss is no longer finite at step 11"),
        (lambda loss: loss + (loss - loss.detach()) * math.inf, 0.0, "no longer finite at step 11"),
        (lambda loss: loss + 1e6, 100.0, "the loss exploded at step 11"),
    ],
)
def test_what_would_spoil_the_weights_stops_the_run(tmp_path, poison, factor, message):
    state = fresh()
    with pytest.raises(TrainingDiverged, match=message):
        run(
            state,
            tmp_path,
            replace(CONFIG, steps=14, divergence_factor=factor),
            poison=lambda step, loss: poison(loss) if step == 11 else loss,
        )
    assert state.step == 11 and all(value.isfinite().all() for value in state.module.state_dict().values())


def test_groups_learn_at_their_share_of_the_rate(tmp_path):
    state = fresh()
    state.optimiser.param_groups[0]["share"] = 0.5
    run(state, tmp_path, replace(CONFIG, steps=1))
    assert state.optimiser.param_groups[0]["lr"] == 0.05


def test_averages_follow_the_weights_fast_at_first(tmp_path):
    """Against one number after the other: decay is (1 + step) / (10 + step), at most `ema_decay`."""
    state = fresh()
    expected, steps = state.module.weight.detach().clone(), []

    def follow(step, *_):
        steps.append((step, state.module.weight.detach().clone()))

    config = replace(CONFIG, steps=4, ema_decay=0.25)
    fit(state, squares(state), repeat(torch.ones(4, 3)), config, tmp_path, lambda: None, on_step=follow)
    for step, weight in steps:
        decay = min(0.25, step / (9 + step))
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(state.average["weight"], expected) and not torch.allclose(expected, weight)


def test_a_loss_is_usual_that_is_no_larger_than_the_largest_of_the_first_steps(tmp_path):
    losses = {0: 1e4, 11: 2e3}
    state = fresh()
    config = replace(CONFIG, steps=12, divergence_factor=2.0)
    run(state, tmp_path, config, poison=lambda step, loss: loss + losses.get(step, 0.0))
    assert state.step == 12 and state.usual > 1e4


@pytest.mark.parametrize("factor", [1.9, 2.1])
def test_the_first_loss_that_is_judged_is_that_after_the_first_steps(tmp_path, factor):
    """Twice the largest of the first steps, which it is none of."""
    state = fresh()
    config = replace(CONFIG, steps=11, divergence_factor=factor)
    losses = {"poison": lambda step, loss: loss * 0 + (200.0 if step == 10 else 100.0)}
    if factor > 2:
        run(state, tmp_path, config, **losses)
    else:
        with pytest.raises(TrainingDiverged, match="exploded at step 10"):
            run(state, tmp_path, config, **losses)
    assert state.step == (11 if factor > 2 else 10) and state.usual == 100


def test_every_process_knows_how_long_it_waited(tmp_path):
    """Also one that writes no log."""

    def slow():
        while True:
            time.sleep(0.01)
            yield torch.ones(4, 3)

    state = fresh()
    assert 0.2 < fit(state, squares(state), slow(), CONFIG, tmp_path, lambda: None) <= 1
