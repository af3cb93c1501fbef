"""Dumps of apply_net: each kind of detection to the vertices that it means, nothing run, nothing imported."""

import base64
import io
import os
import pickle
import re
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch

from dp3d_data.datasets import BadInstance, DatasetOptions, open_images
from dp3d_data.detection import read_vertex_embeddings
from dp3d_data.errors import CheckpointError, InputCorrupt, UnsafePickle, UsageError
from dp3d_data.matching import chart_pixels, nearest_vertices, resize_to
from dp3d_data.matching.charts import read_charts
from dp3d_data.unpickling import read_pickle
from tests.data.sources.pictures import photo
from tests.data.sources.ready_examples import (
    dump_entry,
    iuv_pixels,
    people,
    png,
    reference_classes,
    write_dump,
    write_dump_of_embeddings,
)

SIZE = (40, 30)


def instances(options, index, count):
    source = open_images("dump", options)
    reader = source.reader(count, index)
    return [reader(record, SIZE) for record in source.records()]


def test_labels_and_places_become_body_vertices(tmp_path):
    options = write_dump(tmp_path)
    charts = read_charts(options.charts)
    found, nothing = instances(options, charts, 6890)
    with reference_classes():
        (first, *_), _ = (entry["pred_densepose"] for entry in torch.load(tmp_path / "dump.pkl", weights_only=False))
    labels, uv = first.labels.numpy(), first.uv.numpy()
    inside = labels > 0
    assert np.array_equal(found[0].found.mask, inside) and found[0].found.origin == (2, 3) and not nothing
    assert np.array_equal(found[0].found.vertex_ids[inside], charts.search(labels[inside], uv[:, inside].T))
    assert [one.score for one in found] == pytest.approx([0.9, 0.6]) and found[0].box == pytest.approx(
        (2.5, 3.5, 14.6, 12.75)
    )
    assert not [name for name in sys.modules if name.partition(".")[0] == "densepose"]


def test_embeddings_find_the_vertices_of_the_weights(tmp_path):
    from dp3d_data.matching import VertexIndex

    options = write_dump_of_embeddings(tmp_path)
    vertices = read_vertex_embeddings(options.weights, ("dog_7466", "dog_5002"))
    (found,) = instances(options, VertexIndex(vertices), len(vertices))
    with reference_classes():
        dense = torch.load(tmp_path / "dump.pkl", weights_only=False)[0]["pred_densepose"]
    for number, (width, height) in enumerate(((12, 9), (13, 16))):
        pixels = resize_to(dense.embedding[number].numpy(), width, height)
        segm = resize_to(dense.coarse_segm[number].numpy(), width, height)
        assert np.array_equal(found[number].found.mask, segm[..., 1] > segm[..., 0])
        inside = found[number].found.mask
        assert np.array_equal(found[number].found.vertex_ids[inside], nearest_vertices(pixels[inside], vertices))


def test_raw_charts_and_encoded_results(tmp_path):
    """Outputs before they became labels, and the encoded results of older dumps."""
    rng = np.random.default_rng(0)
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    boxes, pixels = [[2.5, 3.5, 14.6, 12.75]], iuv_pixels(12, 9)
    maps = {
        name: torch.from_numpy(rng.standard_normal((1, depth, 28, 28), dtype=np.float32))
        for name, depth in (("coarse_segm", 2), ("fine_segm", 25), ("u", 25), ("v", 25))
    }
    text = base64.encodebytes(png(pixels)).decode()
    with reference_classes() as kinds:
        raw = kinds.DensePoseChartPredictorOutput(**maps)
        old = kinds.DensePoseResult([(torch.Size([3, 9, 12]), text)], [[2.5, 3.5, 12.1, 9.25]])
        torch.save([dump_entry("a.jpg", boxes, raw), dump_entry("b.jpg", boxes, old)], tmp_path / "dump.pkl")
    options = people(tmp_path, path=str(tmp_path / "dump.pkl"))
    charts = read_charts(options.charts)
    (from_maps,), (from_text,) = instances(options, charts, 6890)
    labels, uv = chart_pixels(boxes[0], *(maps[name][0].numpy() for name in ("coarse_segm", "fine_segm", "u", "v")))
    assert np.array_equal(
        from_maps.found.vertex_ids[labels > 0], charts.search(labels[labels > 0], uv[:, labels > 0].T)
    )
    inside = pixels[..., 0] > 0
    assert np.array_equal(from_text.found.mask, inside)
    assert np.array_equal(
        from_text.found.vertex_ids[inside], charts.search(pixels[inside][:, 0].astype(int), pixels[inside][:, 1:] / 255)
    )


def test_what_a_dump_needs_is_asked_for(tmp_path):
    (tmp_path / "charts").mkdir()
    (tmp_path / "embeddings").mkdir()
    options = write_dump(tmp_path / "charts")
    with pytest.raises(UsageError, match="needs the charts of the body"):
        open_images("dump", DatasetOptions(path=options.path, images=options.images, category="person")).records()
    with pytest.raises(UsageError, match="charts are of people"):
        open_images("dump", DatasetOptions(path=options.path, images=options.images, category="dog")).records()
    options = write_dump_of_embeddings(tmp_path / "embeddings")
    with pytest.raises(UsageError, match="(?s)holds embeddings.*--weights"):
        open_images("dump", DatasetOptions(path=options.path, images=options.images)).records()


def as_plain_pickle(path, protocol):
    """The same dump as apply_net wrote it until October 2022."""
    with reference_classes():
        path.write_bytes(pickle.dumps(torch.load(path, weights_only=False), protocol=protocol))


def same(one, other):
    masks, vertices = zip(
        *((each.found.mask, each.found.vertex_ids * each.found.mask) for each in (one, other)), strict=True
    )
    named = (one.name, one.box, one.score) == (other.name, other.box, other.score)
    return named and np.array_equal(*masks) and np.array_equal(*vertices)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_plain_pickles_are_read_like_archives(tmp_path, protocol):
    options = write_dump(tmp_path)
    charts = read_charts(options.charts)
    (first, second), none = instances(options, charts, 6890)
    as_plain_pickle(tmp_path / "dump.pkl", protocol)
    found = instances(options, charts, 6890)
    assert same(found[0][0], first) and same(found[0][1], second) and found[1] == none == []
    assert not [name for name in sys.modules if name.partition(".")[0] == "densepose"]


def test_plain_pickles_of_embeddings_are_read_like_archives(tmp_path):
    from dp3d_data.matching import VertexIndex

    options = write_dump_of_embeddings(tmp_path)
    vertices = read_vertex_embeddings(options.weights, ("dog_7466", "dog_5002"))
    ((first, second),) = instances(options, VertexIndex(vertices), len(vertices))
    as_plain_pickle(tmp_path / "dump.pkl", 4)
    (found,) = instances(options, VertexIndex(vertices), len(vertices))
    assert same(found[0], first) and same(found[1], second)


def test_plain_pickles_of_encoded_results_are_read(tmp_path):
    photo(tmp_path / "a.jpg")
    pixels = [iuv_pixels(12, 9), iuv_pixels(5, 5, 1)]
    texts = [base64.encodebytes(png(one)).decode() for one in pixels]
    with reference_classes() as kinds:
        boxes = [[2.5, 3.5, 14.6, 12.75], [20.0, 4.0, 26.0, 9.0]]
        dense = kinds.DensePoseResult(
            [((3, 9, 12), texts[0]), ((3, 5, 6), texts[1])], [[2.5, 3.5, 12.1, 9.25], [20.0, 4.0, 6.0, 5.0]]
        )
        (tmp_path / "dump.pkl").write_bytes(pickle.dumps([dump_entry("a.jpg", boxes, dense)], protocol=3))
    options = people(tmp_path, path=str(tmp_path / "dump.pkl"))
    ((good, bad),) = instances(options, read_charts(options.charts), 6890)
    assert np.array_equal(good.found.mask, pixels[0][..., 0] > 0)
    assert isinstance(bad, BadInstance) and bad.name == "1" and "another size than its box" in str(bad.error)


def bad_detections(kinds):
    """Results that cannot be read, and what is said of each."""
    labels, uv = torch.ones(9, 9, dtype=torch.long), torch.zeros(2, 9, 9)
    return [
        (kinds.DensePoseChartResult(labels[:4, :4], uv[:, :4, :4]), "(?s)another size.*got: .4, 4.*expected: .9, 9"),
        (kinds.DensePoseChartResult(labels, torch.zeros(3, 9, 9)), "another size than its box"),
        (kinds.DensePoseChartResult(labels, None), "detection 2: not a detection"),
        (kinds.DensePoseChartResult(labels, "text"), "detection 3: not a detection"),
        (kinds.DensePoseResult([], []), "(?s)detection 4: not a detection.*no 'labels'.*apply_net"),
        (None, "detection 5: not a detection"),
        (kinds.DensePoseChartResult(labels, uv), "detection 6: not a detection"),
    ]


@pytest.mark.parametrize("plain", [False, True])
def test_a_detection_that_cannot_be_read_fails_alone(tmp_path, plain):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    with reference_classes() as kinds:
        cases = bad_detections(kinds)
        boxes = [[0.0, 0.0, 9.0, 9.0]] * len(cases) + [[1.0, 2.0, 10.0, 11.0]]
        boxes[len(cases) - 1] = [float("nan"), 0.0, 9.0, 9.0]
        last = kinds.DensePoseChartResult(torch.ones(9, 9, dtype=torch.long), torch.zeros(2, 9, 9))
        entries = [
            dump_entry("a.jpg", boxes, [*(case for case, _ in cases), last]),
            dump_entry("b.jpg", boxes[:1], [cases[2][0]]),
        ]
        torch.save(entries, tmp_path / "dump.pkl")
    if plain:
        as_plain_pickle(tmp_path / "dump.pkl", 4)
    options = people(tmp_path, path=str(tmp_path / "dump.pkl"))
    (*found, good), (alone,) = instances(options, read_charts(options.charts), 6890)
    for number, (one, (_, text)) in enumerate(zip(found, cases, strict=True)):
        assert isinstance(one, BadInstance) and one.name == str(number) and isinstance(one.error, InputCorrupt)
        assert re.search(text, str(one.error)), one.error
    assert good.name == str(len(cases)) and good.found.mask.all() and isinstance(alone, BadInstance)


def test_an_image_whose_detections_do_not_fit_its_boxes_fails(tmp_path):
    photo(tmp_path / "a.jpg")
    with reference_classes() as kinds:
        one = kinds.DensePoseChartResult(torch.ones(9, 9, dtype=torch.long), torch.zeros(2, 9, 9))
        torch.save([dump_entry("a.jpg", [[0.0, 0.0, 9.0, 9.0]] * 2, [one])], tmp_path / "dump.pkl")
    options = people(tmp_path, path=str(tmp_path / "dump.pkl"))
    with pytest.raises(InputCorrupt, match="(?s)not the detections of a dump.*2 boxes, 2 scores, 1 detections"):
        instances(options, read_charts(options.charts), 6890)


class Runs:
    """A pickle that would run a command."""

    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


def archive_with(path, structure, **storages):
    """A torch archive of any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", structure)
        for name, data in storages.items():
            archive.writestr(f"archive/data/{name.removeprefix('s')}", data)
    return path


def test_a_dump_that_would_run_something_is_refused(tmp_path):
    for place, item in enumerate((Runs(os.system, "touch ran"), Runs(eval, "1"), Runs(getattr, 1, "load"))):
        path = archive_with(tmp_path / f"{place}.pkl", pickle.dumps([{"file_name": item}], protocol=2))
        with pytest.raises(UnsafePickle, match="asks for more than arrays"):
            read_pickle(path, ("densepose",))
    with reference_classes() as kinds:
        torch.save([kinds.DensePoseChartResult(torch.ones(2), None)], tmp_path / "dump.pkl")
    with pytest.raises(UnsafePickle, match="(?s)DensePoseChartResult"):
        read_pickle(tmp_path / "dump.pkl")


class Stored:
    """A storage whose bytes are what somebody likes."""

    def __init__(self, raw):
        self.raw = raw

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.raw,)


def stored(item, *more):
    """The bytes of a pickled storage of torch, with something else in the place of the storage."""
    parts = [pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*parts, item if isinstance(item, bytes) else pickle.dumps(item, protocol=2), *more])


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_dump_that_would_run_something_is_refused(tmp_path, monkeypatch, protocol):
    called = []
    monkeypatch.setattr(os, "system", called.append)
    for item in (Runs(os.system, "touch ran"), Runs(eval, "1"), Runs(torch.load, "dump.pkl"), Runs(io.BytesIO, b"")):
        with reference_classes() as kinds:
            dense = [kinds.DensePoseChartResult(item, None)]
            (tmp_path / "dump.pkl").write_bytes(
                pickle.dumps([dump_entry("a.jpg", [[0.0, 0.0, 9.0, 9.0]], dense)], protocol=protocol)
            )
        with pytest.raises(UnsafePickle, match="dump.pkl: this pickle asks for more than arrays") as caught:
            open_images("dump", DatasetOptions(path=str(tmp_path / "dump.pkl"))).records()
        assert caught.value.hint
    assert called == []


def test_storages_in_plain_pickles_are_read_by_the_same_rules(tmp_path, monkeypatch):
    """Neither a command nor a storage within a storage within a storage, and no more numbers than there are."""
    called = []
    monkeypatch.setattr(os, "system", called.append)
    good = torch.arange(4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        raw = good.storage().__reduce__()[1][0]
    cases = [
        raw[:-1],
        raw + b"1",
        raw[:40],
        b"",
        stored(Runs(os.system, "touch ran")),
        stored(Stored(raw)),
        stored(7, pickle.dumps([])),
        raw.replace(b"FloatStorage", b"HalfStorage"),
        re.sub(rb"(?<=little_endianq.)\x88", b"\x89", raw),
    ]
    assert len(set(cases)) == len(cases) and raw not in cases
    for case in cases:
        tensor = Runs(torch._utils._rebuild_tensor_v2, Stored(case), 0, (4,), (1,), False, {})
        (tmp_path / "dump.pkl").write_bytes(pickle.dumps(tensor))
        with pytest.raises(CheckpointError, match="a tensor that is not all there|asks for more than arrays"):
            read_pickle(tmp_path / "dump.pkl").array()
    (tmp_path / "dump.pkl").write_bytes(pickle.dumps({"whole": good, "part": good[1::2], "none": good[:0]}))
    found = {name: tensor.array().tolist() for name, tensor in read_pickle(tmp_path / "dump.pkl").items()}
    assert found == {"whole": [0, 1, 2, 3], "part": [1, 3], "none": []} and called == []


def tensor_pickle(count, offset, shape, strides):
    """The instructions of one float tensor of storage 0, written by hand."""

    def numbers(values):
        return b"(" + b"".join(b"J" + int(value).to_bytes(4, "little", signed=True) for value in values) + b"t"

    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + numbers([count])[1:-1]
        + b"tQ"
    )
    parts = storage + numbers([offset])[1:-1] + numbers(shape) + numbers(strides)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + parts + b"\x89ccollections\nOrderedDict\n)RtR."


def test_tensors_stay_within_their_storage(tmp_path):
    data = np.arange(6, dtype="<f4").tobytes()
    tensor = read_pickle(archive_with(tmp_path / "ok.pkl", tensor_pickle(6, 1, (2, 2), (2, 1)), s0=data))
    assert tensor.array().tolist() == [[1, 2], [3, 4]]
    outside = [
        (5, (2,), (1,)),
        (0, (7,), (0,)),
        (0, (2, 2), (5, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (9, 9), (0, 0)),
    ]
    outside += [(0, (2, 2), (1,)), (7, (0,), (1,)), (2**30, (1,), (1,)), (0, (2,), (2**30,))]
    for case in outside:
        path = archive_with(tmp_path / "bad.pkl", tensor_pickle(6, *case), s0=data)
        with pytest.raises(CheckpointError, match="not a whole torch archive|not all there"):
            read_pickle(path).array()
    for name, storages in (("short", {"s0": data[:8]}), ("long", {"s0": data + bytes(4)}), ("missing", {})):
        tensor = read_pickle(archive_with(tmp_path / f"{name}.pkl", tensor_pickle(6, 0, (6,), (1,)), **storages))
        with pytest.raises(CheckpointError, match="not all there"):
            tensor.array()


def test_archives_that_unfold_are_refused(tmp_path):
    """Torch compresses nothing: what is compressed may be endless."""
    for name in ("data.pkl", "data/0"):
        with zipfile.ZipFile(tmp_path / "dump.pkl", "w") as archive:
            for each, content in (("data.pkl", tensor_pickle(6, 0, (6,), (1,))), ("data/0", bytes(24))):
                archive.writestr(
                    f"archive/{each}", content, zipfile.ZIP_DEFLATED if each == name else zipfile.ZIP_STORED
                )
        with pytest.raises(CheckpointError, match="not a whole torch archive|not all there"):
            read_pickle(tmp_path / "dump.pkl").array()


def test_a_dump_of_another_byte_order_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "dump.pkl", "w") as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(6, 0, (6,), (1,)))
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(CheckpointError, match="dump.pkl: numbers of a big-endian machine"):
        read_pickle(tmp_path / "dump.pkl")


@pytest.mark.parametrize("content", [{"file_name": "a.jpg"}, [1, 2], [{"image": "a.jpg"}], "text", np.zeros(3), None])
def test_a_plain_pickle_of_something_else_is_told(tmp_path, content):
    (tmp_path / "dump.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputCorrupt, match="(?s)dump.pkl: not a dump.*file_name, scores.*hint: make the dump again"):
        open_images("dump", DatasetOptions(path=str(tmp_path / "dump.pkl"))).records()


def test_a_dump_that_lost_its_end_or_is_old(tmp_path):
    options = write_dump(tmp_path)
    whole = (tmp_path / "dump.pkl").read_bytes()
    for length in (10, 500, len(whole) - 30):
        (tmp_path / "dump.pkl").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="(?s)not a whole torch archive.*version 1.6 or later"):
            open_images("dump", options).records()
    (tmp_path / "dump.pkl").write_bytes(b"")
    with pytest.raises(CheckpointError, match="(?s)not a whole pickle file.*an empty file"):
        open_images("dump", options).records()
    torch.save([{"file_name": "a.jpg"}], tmp_path / "dump.pkl", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="version 1.6 or later"):
        open_images("dump", options).records()


def test_detections_without_boxes_are_a_failure_and_no_address_is_asked(tmp_path, monkeypatch):
    options = write_dump(tmp_path)
    with reference_classes():
        entries = torch.load(tmp_path / "dump.pkl", weights_only=False)
        for key in ("pred_boxes_XYXY", "scores"):
            del entries[0][key]
        entries[1]["file_name"] = "http://127.0.0.1:9/b.jpg"
        torch.save(entries, tmp_path / "dump.pkl")
    monkeypatch.setattr("dp3d_data.datasets.locations.file_system", lambda address: pytest.fail(f"asked {address}"))
    with pytest.raises(InputCorrupt, match="pred_boxes_XYXY"):
        instances(options, read_charts(options.charts), 6890)
