"""Pickles as Python 2 wrote body models: chumpy objects, scipy.sparse matrices, arrays whose bytes are text."""

import io
import pickle
import struct
import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import scipy.sparse

PROTOCOLS = (0, 1, 2)


class OldPickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2's strings, with the module names of its day."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_old_string(self, item):
        raw = item if isinstance(item, bytes) else item.encode("latin1")
        if self.proto:
            self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        else:
            self.write(pickle.STRING + repr(raw)[1:].encode("ascii") + b"\n")
        self.memoize(item)

    dispatch[bytes] = save_old_string
    dispatch[str] = save_old_string


def old_pickle(content, protocol=2) -> bytes:
    stream = io.BytesIO()
    with chumpy_modules():
        OldPickler(stream, protocol, fix_imports=True).dump(content)
    text = stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    for name in (b"csc", b"csr", b"coo"):
        text = text.replace(b"scipy.sparse._" + name, b"scipy.sparse." + name)
    return text


class Ch:
    """Has the state of a chumpy object that holds numbers."""

    def __init__(self, x):
        self.x, self._itr, self._dirty_vars, self._depends_on_deps = x, None, {"x"}, {}
        self._make_dense = self._make_sparse = False


class Select(Ch):
    """Has the state of a chumpy object that picks from another."""

    def __init__(self, a, idxs, preferred_shape):
        super().__init__(None)
        del self.x
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


class MatVecMult(Ch):
    """Has the state of one of chumpy's products, as SMPL's own joints."""


@contextmanager
def chumpy_modules():
    """Lets a pickler find these classes under chumpy's names."""
    places = {"chumpy": (), "chumpy.ch": (Ch, MatVecMult), "chumpy.reordering": (Select,)}
    for module, classes in places.items():
        sys.modules[module] = ModuleType(module)
        for kind in classes:
            kind.__module__ = module
            setattr(sys.modules[module], kind.__name__, kind)
    try:
        yield
    finally:
        for module, classes in places.items():
            del sys.modules[module]
            for kind in classes:
                kind.__module__ = __name__


def published(model, selected=False) -> dict:
    """A model's arrays with the keys, types and companions of SMPL's and SMAL's files."""
    shapes = model.shape_basis
    parents = np.where(model.parents < 0, 2**32 - 1, model.parents).astype(np.uint32)
    order = np.arange(shapes.size)[::-1]
    backwards = Select(Ch(shapes.ravel()[order].copy()), order, shapes.shape)
    content = {
        "v_template": model.template,
        "f": model.faces.astype(np.uint32),
        "shapedirs": backwards if selected else Ch(shapes),
        "J_regressor": scipy.sparse.csc_matrix(model.joint_regressor),
        "J_regressor_prior": scipy.sparse.csr_matrix(model.joint_regressor),
        "kintree_table": np.stack([parents, np.arange(model.num_joints, dtype=np.uint32)]),
        "weights": np.asfortranarray(model.weights),
        "J": MatVecMult(None),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "vert_sym_idxs": np.arange(model.num_vertices),
    }
    return content if model.pose_basis is None else content | {"posedirs": model.pose_basis}
