"""What the report plots, as numbers: each plot against a count of the tables that knows nothing of the report."""

import base64
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dp3d_data.geometry.renderer import view_rotation
from dp3d_data.shards import RunWriter
from pipelines.cli.data import main
from pipelines.report import page
from pipelines.report import writer as plots
from pipelines.report.writer import write_report
from tests.data.shards.samples import grid_template, row

COUNT = {"extract": 37, "synth": 53}
AREA, VERTICES, SCORE, SPREAD, AZIMUTH, ELEVATION, RESIDUAL = (title for title, *_ in plots.MEASURES.values())


def direction(index, kind):
    """The azimuth and elevation of instance `index`, far from the border of any wedge or bin."""
    rng = np.random.default_rng(np.random.SeedSequence([index, kind == "synth"]))
    azimuth = 15.0 * rng.choice(24, p=np.arange(1, 25) / 300) + rng.uniform(-6, 6)
    return (azimuth + 180) % 360 - 180, 7.5 * rng.integers(2, 9) + rng.uniform(1, 6)


def pictured(index, kind):
    """A row whose keypoints are those of a known camera, and whose measures differ from those of all others."""
    made, (azimuth, elevation) = row(index, kind), direction(index, kind)
    rng = np.random.default_rng(np.random.SeedSequence([index, 9, kind == "synth"]))
    view = view_rotation(np.deg2rad(azimuth), np.deg2rad(elevation))
    points = grid_template().vertices @ view[:2].T * 100 + 128
    seen = points[made["vertex_ids"]] + rng.normal(0, 0.001 * index, (len(made["vertex_ids"]), 2))
    spread = rng.uniform(0, 4, len(seen)).astype(np.float32)
    return made | {"keypoints_x": seen[:, 0].tolist(), "keypoints_y": seen[:, 1].tolist(), "spread": spread.tolist(),
                   "score": float(rng.uniform(0.3, 1)), "visible_area": float(rng.uniform(0.05, 0.9))}  # fmt: skip


def written(folder, kind):
    """A run of such rows with rejects of two kinds and failures."""
    run = RunWriter(folder, kind=kind, fingerprint="0123456789ab")
    rejects = [
        {"image_id": f"r{i}", "instance_id": f"r{i}", "reason": "score" if i < 4 else "few", "value": 0.1}
        for i in range(6)
    ]
    failures = [{"image_id": f"f{i}", "path": "x", "stage": "read", "error": "E", "message": "m"} for i in range(3)]
    rows = [pictured(i, kind) for i in range(COUNT[kind])]
    run.commit(0, rows[:20], failures, rejects, inputs=29)
    run.commit(1, rows[20:], inputs=len(rows) - 20)
    run.finish(template=grid_template(), category="dog", config={})
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The figures of a report by caption (runs, then splits), its text, its folder."""
    root = tmp_path_factory.mktemp("dog")
    folders = [written(root / kind, kind) for kind in COUNT]
    words = [word for folder in folders for word in ("--input", str(folder))]
    words += ["--out", str(root / "shards"), "--set", "min_score=0.4", "--min-visible-vertices", "70"]
    built = CliRunner().invoke(main, ["build-shards", *words])
    assert built.exit_code == 0, built.output
    figures, draw = [], page.plot

    def kept(figure, caption, words=""):
        figures.append((caption, figure, draw(figure, caption, words)))
        return figures[-1][2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "plot", kept)
        write_report(root / "r.html", "dog", folders, root / "shards")
    return figures, (root / "r.html").read_text(), root


def tables(root):
    """Name of each series -> its rows, read from the files alone."""
    runs = {
        name: sorted((root / kind).glob("instances-*.parquet"))
        for name, kind in (("photographs", "extract"), ("synthetic", "synth"))
    }
    splits = {f"{name} split": sorted((root / "shards").glob(f"{name}-*.parquet")) for name in ("test", "train", "val")}
    found = {
        name: [line for file in files for line in pq.read_table(file).to_pylist()]
        for name, files in (runs | splits).items()
        if files
    }
    assert len(found["photographs"]) == 37 and len(found["synthetic"]) == 53 and len(found) >= 4
    return [
        {name: rows for name, rows in found.items() if name in runs},
        {name: rows for name, rows in found.items() if name not in runs},
    ]


def spread_of(one):
    return sum(one["spread"]) / len(one["spread"]) / max(one["box_x1"] - one["box_x0"], one["box_y1"] - one["box_y0"])


def known_direction(one):
    kind = "synth" if one["instance_id"].startswith("synth") else "extract"
    return direction(int(one["instance_id"].removeprefix(kind)), kind)


def counted(values, low, high, bins=24):
    """Shares in percent, one value after the other."""
    counts = [0] * bins
    for value in values:
        counts[min(max(int((value - low) / (high - low) * bins), 0), bins - 1)] += 1
    return [100 * count / len(values) for count in counts]


MEASURES = {
    AREA: (lambda one: one["visible_area"], 0, 1),
    VERTICES: (lambda one: len(one["vertex_ids"]), 0, None),
    SCORE: (lambda one: one["score"], 0, 1),
    SPREAD: (spread_of, 0, None),
    ELEVATION: (lambda one: known_direction(one)[1], -90, 90),
}


@pytest.mark.parametrize("title", MEASURES)
def test_histograms_count_the_table(report, title):
    measured, low, end = MEASURES[title]
    drawn = [(figure, words) for caption, figure, words in report[0] if caption == title]
    assert len(drawn) == 2, "one plot of the runs, one of the splits"
    for (figure, words), series in zip(drawn, tables(report[2]), strict=True):
        [axes] = figure.axes
        values = {name: [measured(one) for one in rows] for name, rows in series.items()}
        high = max(max(some) for some in values.values()) if end is None else end
        assert [patch.get_label() for patch in axes.patches] == list(values), "each series once, in order"
        for patch, line, (name, some) in zip(axes.patches, axes.lines, values.items(), strict=True):
            heights, edges, _ = patch.get_data()
            assert patch.orientation == "vertical" and edges == pytest.approx(np.linspace(low, high, 25))
            assert heights == pytest.approx(counted(some, low, high), abs=1e-6), name
            middle = float(line.get_xdata()[0])
            assert middle == pytest.approx(np.median(some), abs=0.2) and f"{name} {page.number(middle)}" in words
            assert patch.get_edgecolor()[:3] == pytest.approx(line_colour(line))
        assert axes.get_xlim() == pytest.approx((low, high)) and axes.get_ylim()[0] == 0


def line_colour(line):
    return tuple(int(line.get_color()[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_the_rose_counts_directions_and_points_to_the_front(report):
    drawn = [figure for caption, figure, _ in report[0] if caption == AZIMUTH]
    for figure, series in zip(drawn, tables(report[2]), strict=True):
        [axes] = figure.axes
        assert [bars.get_label() for bars in axes.containers] == list(series)
        assert axes.get_theta_offset() == pytest.approx(math.pi / 2) and axes.get_theta_direction() == 1, (
            "0 is up, 90 to the left"
        )
        labels = {round(math.degrees(text.get_position()[0])): text.get_text() for text in axes.get_xticklabels()}
        assert labels == {0: "0° front", 90: "90° left", 180: "180° back", 270: "-90° right"}
        for bars, rows in zip(axes.containers, series.values(), strict=True):
            counts = [0] * 24
            for one in rows:
                counts[round(known_direction(one)[0] / 15) % 24] += 1
            assert [bar.get_height() ** 2 * len(rows) for bar in bars] == pytest.approx(counts)
            middles = [math.degrees(bar.get_x() + bar.get_width() / 2) % 360 for bar in bars]
            assert np.allclose(np.mod(np.subtract(middles, 15.0 * np.arange(24)) + 180, 360), 180), (
                "wedge i is centred on 15 i degrees"
            )


def test_the_residual_grows_with_the_noise(report):
    """The rigid camera leaves the noise of the keypoints: 0.001 px times the instance's number, at 100 px a unit."""
    figure = next(figure for caption, figure, _ in report[0] if caption == RESIDUAL)
    for patch, line, rows in zip(
        figure.axes[0].patches, figure.axes[0].lines, tables(report[2])[0].values(), strict=True
    ):
        noise = [math.sqrt(2) * 0.001 * i / 100 for i in range(len(rows))]
        assert line.get_xdata()[0] == pytest.approx(np.median(noise), rel=0.4) and sum(
            patch.get_data()[0]
        ) == pytest.approx(100)


class Parts(HTMLParser):
    """The bars of a page as lists of (title, share), and its pictures' addresses by caption."""

    def __init__(self, text):
        super().__init__()
        self.bars, self.pictures, self.data, self.inside = [], {}, [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if values.get("class") == "flow":
            self.bars.append([])
        elif tag == "span" and "flex-grow" in (values.get("style") or ""):
            self.bars[-1].append((values["title"], int(re.search(r"flex-grow: (\d+)", values["style"])[1])))
        elif tag == "img":
            self.pictures.setdefault(values["alt"], []).append(values["src"])
        self.inside = tag == "script" and values.get("type") == "application/json"

    def handle_data(self, data):
        if self.inside:
            self.data.append(json.loads(data))
        self.inside = False


def test_bars_account_for_every_input(report):
    first, second, third = Parts(report[1]).bars
    for bar, kind in ((first, "extract"), (second, "synth")):
        total = COUNT[kind] + 9
        parts = {"instances": COUNT[kind], "score": 4, "few": 2, "failed": 3}
        assert bar == [(f"{name}: {count} of {total}", count) for name, count in parts.items()]
    splits = {f"in {name.removesuffix(' split')}": len(rows) for name, rows in tables(report[2])[1].items()}
    reasons = Counter(pq.read_table(report[2] / "shards" / "rejects.parquet")["reason"].to_pylist())
    assert reasons["score"] == sum(one["score"] < 0.4 for rows in tables(report[2])[0].values() for one in rows) > 0
    parts = splits | dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])))
    assert (
        dict(third) == {f"{name}: {count} of 90": count for name, count in parts.items()} and sum(parts.values()) == 90
    )


def test_the_template_shows_how_often_each_vertex_is_visible(report):
    shared, stages = sorted(Parts(report[1]).data, key=lambda data: isinstance(data, list))
    (body,) = stages
    series = {f"Visible: {name}": rows for some in tables(report[2]) for name, rows in some.items()}
    layers = {layer["title"]: layer for layer in shared["layers"]}
    assert set(body["values"]) == set(series) and list(layers)[1:] == list(series)
    for title, rows in series.items():
        share = np.zeros(144)
        for one in rows:
            share[one["vertex_ids"]] += 1 / len(rows)
        found = np.frombuffer(base64.b64decode(body["values"][title]), "<f4")
        assert found == pytest.approx(share, abs=1e-6) and layers[title]["top"] == pytest.approx(share.max())
        assert layers[title]["factor"] == 100


def test_the_plots_of_the_page_are_those_figures(report):
    pictures = {
        caption: addresses
        for caption, addresses in Parts(report[1]).pictures.items()
        if addresses[0].startswith("data:image/svg")
    }
    assert set(pictures) == {caption for caption, _, _ in report[0]}
    assert all(drawn in report[1] for _, _, drawn in report[0])
    for address in (one for addresses in pictures.values() for one in addresses):
        text = base64.b64decode(address.partition(",")[2]).decode()
        assert "<svg" in text and "date" not in text.lower() and "<text" in text


WORST = {
    "Lowest score": lambda one: one["score"],
    "Least of the surface visible": lambda one: one["visible_area"],
    "Largest spread of a vertex&#39;s pixels": lambda one: -spread_of(one),
}


@pytest.mark.parametrize("title", WORST)
def test_instances_are_shown_worst_first(report, title):
    for part, rows in zip(report[1].split(f">{title}<")[1:], tables(report[2])[0].values(), strict=True):
        names = re.findall(r'<figure><img alt="(\w+)"', part)[:6]
        assert names == [one["instance_id"] for one in sorted(rows, key=WORST[title])][:6]


def test_nothing_to_plot_is_no_plot():
    assert plots.histogram({"a": np.zeros(0), "b": np.ones(3)}, 0.0, None).axes[0].patches[0].get_label() == "b"
    [one] = plots.histogram({"a": np.array([-5.0, 0.5, 7.0, 9.0])}, 0.0, 1.0).axes[0].patches
    assert one.get_data()[0][[0, 12, 23]].tolist() == [25, 25, 50], "what lies beyond the axis counts at its ends"
