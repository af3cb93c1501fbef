"""Dry run, retries: what they say, and that they leave alone what is not theirs."""

import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dp3d_data.errors import FingerprintMismatch, InputMissing
from dp3d_data.records import ImageRecord
from pipelines import extract_parts
from pipelines.chunks import Rows, begin_run, chunked, finish_run, worker_count
from pipelines.extract import extract, make_plan
from pipelines.extract_parts import estimate
from pipelines.inputs import Inputs
from pipelines.settings import ExtractConfig
from tests.data.extract.world import OneByOne, ball, content, make_world, picture, predictor_of, run


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    known = make_world(folder, 6)
    ball().save(tmp_path / "ball.npz")
    return folder, known


def plan_of(photos, out, **settings):
    folder, known = photos
    values = {
        "images": (str(folder),),
        "template": str(folder.parent / "ball.npz"),
        "part": 4,
        "min_vertices": 5,
        "workers": 1,
    }
    return make_plan(ExtractConfig(**(values | {"out": str(out)} | settings)), predictor_of(known))


def test_a_dry_run_writes_nothing_and_counts(photos, tmp_path):
    out = tmp_path / "out"
    told = estimate(plan_of(photos, out))
    assert told[:2] == [f"dry run, nothing is written · {out}: a new run", "  6 of 6 images to do, in 2 chunks"]
    assert told[2] == "  looked at 4: 4 instances, 1 rejected, 0 failed" and not out.exists()
    assert re.fullmatch(r"  about 0:00:\d\d and 1.0 MB of [\d.]+ GB that are free", told[3]) and len(told) == 4
    extract(plan_of(photos, out))
    before = content(out)
    assert estimate(plan_of(photos, out))[1:] == ["  0 of 6 images to do, in 0 chunks"]
    for settings in ({"score": 0.85}, {"side": 96}):
        assert "this folder holds other settings: it will be refused" in estimate(plan_of(photos, out, **settings))[0]
    assert estimate(plan_of(photos, out, overwrite=True))[0].endswith(": a new run")
    assert content(out) == before


def test_a_dry_run_reckons_with_the_processes_and_with_what_it_saw(photos, tmp_path, monkeypatch):
    seen = Rows([{}] * 4, [{"image_id": "a", "stage": "read", "error": "E", "message": "bad\nfile"}])
    monkeypatch.setattr(extract_parts, "probe", lambda *_: (8.0, 60.0, seen))
    monkeypatch.setattr(extract_parts, "encoded_bytes", lambda rows: 100_000 + 500_000 * len(rows))
    for workers, time in ((1, "0:06:08"), (2, "0:03:13")):
        told = estimate(plan_of(photos, tmp_path / "out", workers=workers, overlays=2))
        assert told[3] == "    a · read: E: bad" and told[4].startswith(f"  about {time} and 3.5 MB of ")
    monkeypatch.setattr(extract_parts, "free_bytes", lambda _: 3_000_000)
    told = estimate(plan_of(photos, tmp_path / "out", overlays=2))
    assert told[-1] == "  that is more than is free: choose another folder with --out"


def test_a_dry_run_sees_what_an_unfinished_run_has_done(photos, tmp_path):
    class Stopped(Exception):
        pass

    def stop(inputs, *_):
        seen.append(inputs)
        if len(seen) == 5:
            raise Stopped

    seen = []
    with pytest.raises(Stopped):
        extract(plan_of(photos, tmp_path / "out"), stop)
    told = estimate(plan_of(photos, tmp_path / "out"))
    assert told[0].endswith(": goes on with an unfinished run") and told[1] == "  2 of 6 images to do, in 1 chunk"


def test_only_failed_images_are_tried_again(photos, tmp_path):
    folder, known = photos
    shutil.copy(folder / "000.png", tmp_path / "whole.png")
    (folder / "000.png").write_bytes(b"half")
    run(folder, tmp_path / "out", known)
    told = estimate(plan_of(photos, tmp_path / "out", retry_failed=True))
    assert told[0].endswith(": a finished run of this fingerprint") and told[1].startswith("  1 of 6 images to do")
    shutil.copy(tmp_path / "whole.png", folder / "000.png")
    said, seen = [], []

    class Watching(OneByOne):
        template_hash = ""

        def __init__(self):
            self.inner = predictor_of(known)()
            self.class_of, self.vertex_embeddings = self.inner.class_of, self.inner.vertex_embeddings

        def predict(self, image, **settings):
            seen.append(image.shape)
            return self.inner.predict(image, **settings)

    config = plan_of(photos, tmp_path / "out", retry_failed=True).config
    outcome = extract(make_plan(config, Watching), say=said.append)
    assert said == ["1 failed images to try again"] and len(seen) == 1 and outcome.images.failed == 0
    assert not extract(make_plan(config, Watching)).fresh and len(seen) == 1


def test_a_retry_needs_a_run_of_the_same_work(photos, tmp_path):
    with pytest.raises(InputMissing, match="no run.json here"):
        extract(plan_of(photos, tmp_path / "out", retry_failed=True))
    run(photos[0], tmp_path / "out", photos[1])
    with pytest.raises(FingerprintMismatch, match="failed images here are those of other settings"):
        extract(plan_of(photos, tmp_path / "out", retry_failed=True, score=0.85))


def test_the_network_looks_at_images_of_the_size_asked_for():
    own, half = (make_plan(ExtractConfig(side=side)).make_predictor() for side in (0, 96))
    assert (own.spec.min_side, half.spec.min_side) == (256, 96)


def test_a_retry_looks_again_at_photographs_that_have_changed(photos, tmp_path):
    folder, known = photos
    (folder / "000.png").write_bytes(b"half")
    run(folder, tmp_path / "out", known)
    picture(folder, 9)
    (folder / "009.png").rename(folder / "001.png")  # another photograph, in which nothing is found
    again = run(folder, tmp_path / "out", known, retry_failed=True)
    assert again.images.failed == 1 and again.images.rejected == {"nothing found": 2}


def test_an_image_that_ends_its_process_is_a_failure_and_never_looked_at(photos, tmp_path):
    plan = plan_of(photos, tmp_path / "out")
    with begin_run(plan) as writer:
        make, told = extract_parts.load_chunks({"dog": plan}, {"dog": writer}), []
        for index, chunk in enumerate(plan.chunks):
            views = [{"dog": record} for record in chunk]
            make(index, views, lambda *counts: told.append(counts), [1] if index == 0 else [])
        assert sorted(told) == [(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 0), (1, 2, 0), (1, 2, 0)]
        assert extract_parts.deadly_images(plan.out) == {"001.png"}
        found = finish_run(plan, writer)
    (row,) = found.failures().to_pylist()
    assert (row["image_id"], row["stage"], row["error"]) == ("001.png", "worker", "WorkerLost")
    assert {one["image_id"] for table in found.instances() for one in table.to_pylist()} == {
        "000.png", "002.png", "004.png", "005.png"
    }  # fmt: skip


RECORD = ImageRecord("a.png", "", objects=(), size=(4, 3))


@pytest.mark.parametrize(
    "changes",
    [{"image_id": "b.png"}, {"group": "g"}, {"split": "val"}, {"objects": None}, {"size": (3, 4)}, {"faults": ("x",)},
     {"crowds": ("x",)}],
)  # fmt: skip
def test_all_that_rows_take_from_a_record_shapes_the_fingerprint(changes):
    source = SimpleNamespace(name="folder", digest=str)
    one, other = (Inputs(source, (record, RECORD)).facts() for record in (RECORD, replace(RECORD, **changes)))
    assert one != other and one == Inputs(source, (replace(RECORD, source="elsewhere"), RECORD)).facts()


def test_sizes_of_files_and_ends_of_chunks_shape_the_fingerprint(tmp_path):
    source, record = SimpleNamespace(name="folder", digest=str), replace(RECORD, path=str(tmp_path / "a.png"))
    kinds = []
    for content_of_file in (b"one", b"three"):
        (tmp_path / "a.png").write_bytes(content_of_file)
        kinds.append([Inputs(source, (record,)).facts(sizes) for sizes in (True, False)])
    assert kinds[0][0] != kinds[1][0] and kinds[0][1] == kinds[1][1]
    assert Inputs(source, (record,), ends=(1,)).facts() != kinds[1][0]
    assert Inputs(source, (RECORD, replace(RECORD, group="g"))).facts()[2][:16] == "a5c58e54d2e072e8", (
        "finished runs are found again"
    )


def test_only_runs_that_look_at_mirror_images_have_another_fingerprint(photos, tmp_path):
    assert "mirror" not in ExtractConfig().result() and ExtractConfig(mirror=True).result()["mirror"]
    plain, both = (plan_of(photos, tmp_path / "out", mirror=mirror) for mirror in (False, True))
    assert plain.fingerprint != both.fingerprint


@pytest.mark.parametrize(
    ("count", "part", "size"), [(3, 0, 3), (160, 0, 10), (161, 0, 11), (4001, 0, 250), (9000, 0, 250), (50, 7, 7)]
)
def test_a_sixteenth_of_the_inputs_is_a_chunk_between_10_and_250(count, part, size):
    chunks = chunked(range(count), part)
    assert len(chunks[0]) == size and [one for chunk in chunks for one in chunk] == list(range(count))


def test_processes_are_as_many_as_have_two_chunks_each_and_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(12), raising=False)
    assert [worker_count(0, chunks, "cpu") for chunks in (0, 1, 3, 7, 99)] == [1, 1, 1, 3, 8]
