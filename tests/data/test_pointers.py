"""A pointer in the place of a file is said to be one, by every reader of binary files of bodies and fits."""

import pytest

from dp3d_data.bodies.files import load_body_model
from dp3d_data.datasets.images import read_image
from dp3d_data.detection import load_predictor
from dp3d_data.detection.weights import read_checkpoint
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.files import require_no_pointer
from dp3d_data.matching.charts import read_charts
from dp3d_data.torch_files import read_torch
from dp3d_data.unpickling import read_pickle
from dp3d_model.lifting.model_file import load_model
from tests.shared import shared

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "0" + "\nsize 34904364\n"
ANNEX = "/annex/objects/SHA256E-s34904364--0123.pkl\n"


@pytest.mark.parametrize(("text", "command"), [(LFS, "git lfs pull --include=model"), (ANNEX, "git annex get model")])
@pytest.mark.parametrize(
    ("reader", "ending"),
    [
        (require_no_pointer, ".x"),
        (read_pickle, ".pkl"),
        (load_body_model, ".npz"),
        (read_charts, ".mat"),
        (read_image, ".jpg"),
        (read_checkpoint, ".pth"),
        (read_checkpoint, ".pkl"),
        (load_model, ".pt"),
        (lambda path: read_torch(path, "state", expected="one"), ".pt"),
        (lambda path: load_predictor("narrow-18", str(path)), ".pth"),
    ],
)
def test_pointers_are_named(tmp_path, text, command, reader, ending):
    path = tmp_path / f"model{ending}"
    path.write_text(text)
    with pytest.raises(InputCorrupt, match="this is a pointer, fetch the file") as caught:
        reader(path)
    assert command in caught.value.hint and caught.value.path == path


def test_the_shared_pointer_is_named_as_a_body_model():
    with pytest.raises(InputCorrupt, match="this is a pointer"):
        load_body_model(shared("cases/fits/lfs_pointer.pkl"))


def test_files_pass_and_what_cannot_be_opened_is_missing(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}.")
    (tmp_path / "empty.pkl").touch()
    require_no_pointer(tmp_path / "a.pkl")
    require_no_pointer(tmp_path / "empty.pkl")
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(InputMissing, match="cannot be opened"):
            require_no_pointer(path)
