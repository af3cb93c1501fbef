"""Dumps of apply_net: each kind of detection to the vertices that it means, nothing run, nothing imported."""

import base64
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch

from dp3d_data.bodies.chart_files import read_charts
from dp3d_data.errors import CheckpointError, InputCorrupt, UnsafePickle, UsageError
from dp3d_data.inference import read_vertex_embeddings
from dp3d_data.matching import chart_pixels, nearest_vertices, resize_to
from dp3d_data.sources import SourceOptions, open_source
from dp3d_data.sources.torch_pickle import TorchArchive
from tests.data.sources.pictures import photo
from tests.data.sources.ready_examples import dump_entry, iuv_pixels, people, png, reference_classes, write_dump, write_dump_of_embeddings

SIZE = (40, 30)


def instances(options, index, count):
    source = open_source("dump", options)
    reader = source.reader(count, index)
    return [reader.instances(record, SIZE) for record in source.records()]


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
    assert [one.score for one in found] == pytest.approx([0.9, 0.6]) and found[0].box == pytest.approx((2.5, 3.5, 14.6, 12.75))
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
    maps = {name: torch.from_numpy(rng.standard_normal((1, depth, 28, 28), dtype=np.float32))
            for name, depth in (("coarse_segm", 2), ("fine_segm", 25), ("u", 25), ("v", 25))}  # fmt: skip
    text = base64.encodebytes(png(pixels)).decode()
    with reference_classes() as kinds:
        raw = kinds.DensePoseChartPredictorOutput(**maps)
        old = kinds.DensePoseResult([(torch.Size([3, 9, 12]), text)], [[2.5, 3.5, 12.1, 9.25]])
        torch.save([dump_entry("a.jpg", boxes, raw), dump_entry("b.jpg", boxes, old)], tmp_path / "dump.pkl")
    options = people(tmp_path, path=str(tmp_path / "dump.pkl"))
    charts = read_charts(options.charts)
    (from_maps,), (from_text,) = instances(options, charts, 6890)
    labels, uv = chart_pixels(boxes[0], *(maps[name][0].numpy() for name in ("coarse_segm", "fine_segm", "u", "v")))
    assert np.array_equal(from_maps.found.vertex_ids[labels > 0], charts.search(labels[labels > 0], uv[:, labels > 0].T))
    inside = pixels[..., 0] > 0
    assert np.array_equal(from_text.found.mask, inside)
    assert np.array_equal(from_text.found.vertex_ids[inside], charts.search(pixels[inside][:, 0].astype(int), pixels[inside][:, 1:] / 255))


def test_what_a_dump_needs_is_asked_for(tmp_path):
    (tmp_path / "charts").mkdir()
    (tmp_path / "embeddings").mkdir()
    options = write_dump(tmp_path / "charts")
    with pytest.raises(UsageError, match="needs the charts of the body"):
        open_source("dump", SourceOptions(path=options.path, images=options.images, category="person")).records()
    with pytest.raises(UsageError, match="charts are of people"):
        open_source("dump", SourceOptions(path=options.path, images=options.images, category="dog")).records()
    options = write_dump_of_embeddings(tmp_path / "embeddings")
    with pytest.raises(UsageError, match="(?s)holds embeddings.*--weights"):
        open_source("dump", SourceOptions(path=options.path, images=options.images)).records()


def test_a_detection_of_another_size_than_its_box_fails(tmp_path):
    photo(tmp_path / "a.jpg")
    with reference_classes() as kinds:
        wrong = kinds.DensePoseChartResult(torch.ones(4, 4, dtype=torch.long), torch.zeros(2, 4, 4))
        torch.save([dump_entry("a.jpg", [[0.0, 0.0, 9.0, 9.0]], [wrong])], tmp_path / "dump.pkl")
    options = people(tmp_path, path=str(tmp_path / "dump.pkl"))
    with pytest.raises(InputCorrupt, match="(?s)another size than its box.*got: .4, 4.*expected: .9, 9"):
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
            TorchArchive(path, ("densepose",))
    with reference_classes() as kinds:
        torch.save([kinds.DensePoseChartResult(torch.ones(2), None)], tmp_path / "dump.pkl")
    with pytest.raises(UnsafePickle, match="(?s)DensePoseChartResult"):
        TorchArchive(tmp_path / "dump.pkl", ())


def tensor_pickle(count, offset, shape, strides):
    """The instructions of one float tensor of storage 0, written by hand."""
    def numbers(values):
        return b"(" + b"".join(b"J" + int(value).to_bytes(4, "little", signed=True) for value in values) + b"t"

    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + numbers([count])[1:-1] + b"tQ"
    parts = storage + numbers([offset])[1:-1] + numbers(shape) + numbers(strides)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + parts + b"\x89ccollections\nOrderedDict\n)RtR."


def test_tensors_stay_within_their_storage(tmp_path):
    data = np.arange(6, dtype="<f4").tobytes()
    archive = TorchArchive(archive_with(tmp_path / "ok.pkl", tensor_pickle(6, 1, (2, 2), (2, 1)), s0=data), ())
    assert archive.array(archive.content).tolist() == [[1, 2], [3, 4]]
    outside = [(5, (2,), (1,)), (0, (7,), (0,)), (0, (2, 2), (5, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (9, 9), (0, 0))]
    for case in outside:
        path = archive_with(tmp_path / "bad.pkl", tensor_pickle(6, *case), s0=data)
        with pytest.raises(CheckpointError, match="not a whole torch archive"):
            TorchArchive(path, ())
    short = TorchArchive(archive_with(tmp_path / "short.pkl", tensor_pickle(6, 0, (6,), (1,)), s0=data[:8]), ())
    with pytest.raises(CheckpointError, match="not all there"):
        short.array(short.content)
    missing = TorchArchive(archive_with(tmp_path / "missing.pkl", tensor_pickle(6, 0, (6,), (1,))), ())
    with pytest.raises(CheckpointError, match="not a whole torch archive"):
        missing.array(missing.content)


def test_a_dump_that_lost_its_end_or_is_old(tmp_path):
    options = write_dump(tmp_path)
    whole = (tmp_path / "dump.pkl").read_bytes()
    for length in (0, 10, 500, len(whole) - 30):
        (tmp_path / "dump.pkl").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="(?s)not a whole torch archive.*version 1.6 or later"):
            open_source("dump", options).records()
    torch.save([{"file_name": "a.jpg"}], tmp_path / "dump.pkl", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="version 1.6 or later"):
        open_source("dump", options).records()
