"""Reading ahead: in order, bounded, whatever the threads; images of one shape share a pass."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.records import ImageRecord
from pipelines.annotate import Annotator, annotate_in_passes, bucketed, prefetched
from pipelines.settings import ExtractConfig
from tests.data.extract.world import CLASSES, ball, make_world, predictor_of


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4), st.integers(1, 6))
def test_results_come_in_order(items, threads, depth):
    assert list(prefetched(lambda item: item + 1, items, threads=threads, depth=depth)) == [item + 1 for item in items]


def test_no_more_than_depth_results_wait():
    begun, fetched, most = [], [], []

    def step(item):
        begun.append(item)
        most.append(len(begun) - len(fetched))
        return item

    for item in prefetched(step, range(40), threads=3, depth=5):
        fetched.append(item)
        time.sleep(0.001)
    assert max(most) <= 5 + 1


def test_work_is_done_while_the_caller_is_busy():
    done = threading.Event()
    results = prefetched(lambda item: item if item == 0 else done.set() or item, range(2), threads=1, depth=2)
    assert next(results) == 0 and done.wait(5)


def test_an_error_of_a_step_arrives_and_ends_the_threads():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(prefetched(lambda item: 1 // item, [1, 0, 1, 1], threads=2, depth=2))
    assert threading.active_count() == before


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers()), max_size=30), st.integers(1, 5))
def test_groups_have_one_key_keep_the_order_and_lose_nothing(items, size):
    groups = list(bucketed(items, lambda item: item[0], size))
    assert all(0 < len(group) <= size and len({key for key, _ in group}) == 1 for group in groups)
    for key in "ab":
        assert [item for group in groups for item in group if item[0] == key] == [
            item for item in items if item[0] == key
        ]
    whole = [len(group) for group in groups if len(group) < size]
    assert len(whole) <= 2


class Together:
    """A predictor that notes which images share a pass, and fails where a dark one is among them."""

    template_hash = ""

    def __init__(self, known):
        inner = predictor_of(known)()
        self.predict, self.class_of, self.vertex_embeddings, self.passes = (
            inner.predict,
            inner.class_of,
            inner.vertex_embeddings,
            [],
        )

    def recognising(self):
        return self

    def prepare(self, image):
        return image

    def predict_many(self, images, boxes, score=0.5, classes=None):
        self.passes.append([image.shape for image in images])
        if any(image.max() == 0 for image in images):
            raise RuntimeError("out of memory")
        return [
            self.predict(image, boxes=own, score=score, classes=classes)
            for image, own in zip(images, boxes, strict=True)
        ]


def test_a_pass_that_fails_is_tried_image_by_image(tmp_path):
    from PIL import Image

    known = make_world(tmp_path / "photos", 5)
    Image.fromarray(np.zeros((44, 60, 3), dtype=np.uint8)).save(tmp_path / "photos/dark.png")
    Image.fromarray(np.full((30, 30, 3), 9, dtype=np.uint8)).save(tmp_path / "photos/small.png")
    records = [ImageRecord(path.name, str(path)) for path in sorted((tmp_path / "photos").iterdir())]
    predictor = Together(known)
    annotator = Annotator(ExtractConfig(batch=4, min_vertices=5), predictor, ball(), "known")
    told = []
    found = annotate_in_passes(
        {"dog": annotator}, [{"dog": one} for one in records], lambda *counts: told.append(counts)
    )
    rows = [one["dog"] for one in found]
    assert [len(group) for group in predictor.passes] == [4, 2, 1, 1, 1] and sum(inputs for inputs, _, _ in told) == 7
    failed = {record.image_id: one.failures for record, one in zip(records, rows, strict=True) if one.failures}
    assert list(failed) == ["dark.png"] and failed["dark.png"][0]["message"] == "out of memory"
    alone = [annotator.annotate(record) for record in records]
    assert [len(one.instances) for one in rows] == [len(one.instances) for one in alone] and CLASSES["dog"] == 3
