"""The page of lifted instances: its numbers are those of the evaluation, and it draws and turns in a real browser."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dp3d_model.evaluation.evaluator import errors_of, score_model
from dp3d_model.export.gallery import crop_box
from dp3d_model.lifting.prediction import network_alone, predict
from dp3d_model.networks.lifter import Lifter
from pipelines.lift import _body, _layers, write_view
from tests.browser import Browser
from tests.model.toy import tiny, toy_instances, toy_surface

COLOURS = """(name) => { const c = document.querySelector('canvas.' + name);
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen = new Set();
  for (let i = 0; i < d.length; i += 4) if (d[i + 3]) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);
  return seen.size }"""


HOSTILE = "<img src=x onerror='window.owned = 1'></script>&lt;"


def named(instances):
    return replace(instances, ids=(HOSTILE,) * len(instances))


@pytest.fixture(scope="module")
def surface():
    return toy_surface()


def with_photograph(instances, folder):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((500, 400)).save(folder / "dog.png")
    return replace(instances, image_paths=(str(folder / "dog.png"),) + ("",) * (len(instances) - 1))


def test_errors_are_those_of_the_evaluation(surface):
    lifter, world = Lifter(surface, tiny()).eval(), toy_instances(surface, 6)
    scores = score_model(lifter, world).given
    found = errors_of(predict(lifter, world, batch=4), world)
    assert np.allclose([mpjpe for _, mpjpe, _ in found], scores["mpjpe"], atol=1e-5)
    assert np.allclose([pa for *_, pa in found], scores["pa_mpjpe"], atol=1e-5)
    world.true_scale[2] = np.nan
    assert [one is None for one in errors_of(predict(lifter, world), world)] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert errors_of([], replace(world, true_vertices=None, true_scale=None)) == [None] * 6


def test_a_body_lies_over_its_keypoints_in_the_square_of_its_own_or_of_another_lift(surface):
    """The page's camera takes a vertex to where the lift projects it, in sides of the square from its corner."""
    world, colours = toy_instances(surface, 2), np.zeros((surface.vertices.shape[0], 3), np.uint8)
    lifter = Lifter(surface, tiny()).eval()
    one, other = (next(iter(predict(lifter, world))).at(i) for i in range(2))
    for framed, place in ((None, one), (other, other)):
        body = _body(lifter, one, world, 0, None, colours, framed)
        keypoints = world.keypoints[0].numpy()[world.visible[0].numpy()]
        left, top, side = crop_box(np.concatenate([keypoints, place.projected()[:, :2]]))
        camera = np.reshape(body.seen["camera"], (3, 3))[:2]
        drawn = body.seen["scale"] * body.vertices @ camera.T + body.seen["shift"]
        flat = one.scale * one.vertices @ one.camera_from_template[:2].T + one.translation
        np.testing.assert_allclose(drawn * side + [left, top], flat, rtol=1e-4, atol=1e-3)
        if framed is None:
            dots = np.frombuffer(base64.b64decode(body.seen["keypoints"]), "<f4").reshape(-1, 2)
            np.testing.assert_allclose(dots * side + [left, top], keypoints, rtol=1e-4)


def test_colours_of_errors_end_at_the_next_twentieth_above_almost_all():
    errors = [], [np.full(9, 0.12)], [np.full(9, 0.01), np.full(9, 0.21)]
    assert [_layers(measured)[-1].top for measured in errors] == [0.05, 0.15, 0.25]


@pytest.mark.parametrize("body", ["parts", pytest.param("rigid", marks=pytest.mark.slow)])
def test_the_page_draws_and_turns_without_a_network(tmp_path, surface, body):
    lifter = Lifter(surface, tiny({"model.body": body})).eval()
    instances = named(with_photograph(toy_instances(surface, 2), tmp_path))
    lifted = list(predict(lifter, instances))
    path = write_view(lifter, instances, lifted, tmp_path / "view.html", HOSTILE)
    with Browser(tmp_path / "profile") as browser:
        browser.open(path)
        assert all(browser.run(f"({COLOURS})('{name}')") > 20 for name in ("keypoints", "over", "alone", "turn"))
        turned = "document.querySelector('canvas.turn').toDataURL()"
        seen = [browser.run(turned)]
        for layer in ("parts", "visibility", "error"):
            browser.run(f"document.querySelector('[data-layer={layer}]').click()")
            browser.settle()
            seen.append(browser.run(turned))
        browser.run(
            "document.querySelector('canvas.turn').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
        )
        browser.settle()
        seen.append(browser.run(turned))
        assert len(set(seen)) == 5, "layers and keys each change the picture"
        x, y, side = browser.run(
            "(() => { const c = document.querySelector('canvas.turn'); c.scrollIntoView({block: 'center'});"
            " const r = c.getBoundingClientRect(); return [r.x, r.y, r.width] })()"
        )
        browser.hover(x + side / 2, y + side / 2)
        told = re.fullmatch(
            r"vertex (\d+): ([\d.e-]+) template extents", browser.run("document.querySelector('output').textContent")
        )
        assert float(told[2]) == pytest.approx(errors_of(lifted, instances)[0][0][int(told[1])], rel=5e-3), (
            "the error of the vertex"
        )
        assert "PA-MPJPE" in browser.run("document.querySelector('.viewer figcaption').textContent")
        assert HOSTILE in browser.run("document.querySelector('.viewer figcaption').textContent")
        assert browser.run("document.querySelector('h1').textContent") == HOSTILE
        assert browser.run("typeof window.owned") == "undefined"
        assert [text for text in browser.complaints if "GPU stall" not in text] == []
        assert all(address.startswith(("file:", "data:")) for address in browser.requests)
        assert browser.run("document.querySelector('[data-stage]')") is None, "nothing was optimised"


@pytest.mark.slow
def test_a_button_shows_what_the_network_alone_says(tmp_path, surface):
    """The figures beside the body are those of the answer that is shown, and so is the mean error of the page."""
    lifter = Lifter(surface, tiny({"refine.steps": 3, "refine.learning_rate": 0.05})).eval()
    instances = with_photograph(toy_instances(surface, 2), tmp_path)
    alone = list(predict(network_alone(lifter), instances))
    assert np.isnan(alone[0].confidence).all(), "confidence speaks of optimised answers"
    path = write_view(lifter, instances, list(predict(lifter, instances)), tmp_path / "view.html", "dogs")
    before, after = (
        f"MPJPE {errors_of(own, instances)[0][1]:.4f}" for own in (alone, list(predict(lifter, instances)))
    )
    assert before != after
    shown = "[...document.querySelectorAll('.viewer figure')[0].querySelectorAll('figcaption')]"
    shown = f"{shown}.filter((c) => !c.hidden).map((c) => c.textContent)"
    drawn = "document.querySelector('canvas.over').toDataURL() + document.querySelector('canvas.turn').toDataURL()"
    with Browser(tmp_path / "profile") as browser:
        browser.open(path)
        [caption], optimised = browser.run(shown), browser.run(drawn)
        assert after in caption
        browser.run("document.querySelector('[data-stage=\"0\"]').click()")
        browser.settle()
        [caption], network = browser.run(shown), browser.run(drawn)
        assert before in caption and network != optimised
        assert browser.run(f"({COLOURS})('keypoints')") > 20, "the photograph stays"
        browser.run("document.querySelector('[data-stage=\"1\"]').click()")
        browser.settle()
        assert browser.run(drawn) == optimised
        assert [text for text in browser.complaints if "GPU stall" not in text] == []
