"""A pretended GPU: tensors that say they lie on another device and compute on the CPU, and refuse what a GPU refuses.

A tensor of the device "pretend" holds an ordinary one. Every operation is made on what is held, after a check that all
operands lie together, as CUDA's kernels ask for: a number without dimensions, an index and the two sides of a copy may
lie elsewhere. So code that forgets to move a tensor fails here as it would there, data-dependent steps, backward passes
and torchvision's operations included.
"""

from __future__ import annotations

import functools

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

NAME = "pretend"
aten = torch.ops.aten
# Operations whose operands may lie on several devices.
COPIES = {aten.copy_.default, aten._to_copy.default, aten.copy.default}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
_LIBRARY: list[torch.library.Library] = []


class DeviceMixUp(RuntimeError):
    """Tensors of two devices in one operation."""


class Pretended(torch.Tensor):
    """A tensor of the device "pretend"."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretended:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    def __init__(self, held: torch.Tensor) -> None:
        pass

    def tolist(self):
        return self.held.tolist()

    def __reduce_ex__(self, protocol):
        return self.held.__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"Pretended({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Pretending(TorchDispatchMode):
    """Makes new tensors of the device where one is asked for, and counts the operations on it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __enter__(self):
        # Tensors of inference mode know no versions, which wrapped ones need.
        self.inference, torch._C._InferenceMode = torch._C._InferenceMode, lambda mode: torch.set_grad_enabled(not mode)
        return super().__enter__()

    def __exit__(self, *raised):
        torch._C._InferenceMode = self.inference
        return super().__exit__(*raised)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(isinstance(one, Pretended) for one in tree_flatten((args, kwargs))[0]):
            self.counts[str(func)] = self.counts.get(str(func), 0) + 1
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """One operation on what is held; its answer lies where its operands did, or where it was asked for."""
    flat, form = tree_flatten((args, kwargs))
    require_together(func, args, flat)
    there = any(isinstance(one, Pretended) for one in flat)
    asked = kwargs.get("device")
    if asked is not None:
        there = torch.device(asked).type == NAME
    elif func is aten.copy_.default:
        there = isinstance(args[0], Pretended)
    if not there and asked is None and not any(isinstance(one, Pretended) for one in flat):
        return func(*args, **kwargs)
    plain = [one.held if isinstance(one, Pretended) else one for one in flat]
    plain = [torch.device("cpu") if isinstance(one, torch.device) and one.type == NAME else one for one in plain]
    own, named = tree_unflatten(plain, form)
    given = {id(one.held): one for one in flat if isinstance(one, Pretended)}
    found = func(*own, **named)
    if not there:
        return found
    return tree_map_only(torch.Tensor, lambda one: given.get(id(one)) if id(one) in given else Pretended(one), found)


def require_together(func, args, flat) -> None:
    """Refuse operands of two devices, where a GPU's kernel would."""
    if func in COPIES:
        return
    tensors = [one for one in flat if isinstance(one, torch.Tensor)]
    if func in INDEXED:
        tensors = [args[0], *(one for one in args[2:3])] if isinstance(args[0], Pretended) else tensors
    if any(isinstance(one, Pretended) for one in tensors):
        left = [one for one in tensors if not isinstance(one, Pretended) and one.dim() > 0]
        if left:
            raise DeviceMixUp(f"{func}: operands on {NAME} and, {[list(one.shape) for one in left]}, on the CPU")


@functools.cache
def register() -> None:
    """Tell torch of the device, once in a process."""
    from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

    class Module(_DummyBackendModule):
        def get_amp_supported_dtype(self):
            return [torch.bfloat16, torch.float16]

    _setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    # Mixed precision changes no number here: what it does to numbers is asked of the CPU.
    _LIBRARY.append(torch.library.Library("_", "IMPL"))
    _LIBRARY[0].fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    # Tensors made of Python's numbers get past the mode.
    _LIBRARY.append(torch.library.Library("aten", "IMPL"))
    for func in (
        aten.empty_strided.default,
        aten.empty.memory_format,
        aten.copy_.default,
        aten._to_copy.default,
        aten.detach.default,
    ):
        _LIBRARY[1].impl(func, lambda *args, func=func, **kwargs: run(func, args, kwargs), "PrivateUse1")
