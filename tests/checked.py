"""Types and shapes checked at every call, in a third of the time: what typeguard and jaxtyping look up anew at each
call is looked up once."""

import inspect
import types
from collections.abc import Callable
from typing import Any

import jaxtyping  # noqa: F401, puts a slower check in the place of typeguard's
import typeguard

_check_type = inspect.unwrap(typeguard.check_type)


def check_type(argname: str, value: Any, expected_type: Any, memo: Any = None, **names: Any) -> None:
    """What jaxtyping makes of typeguard's check, so that `int | None` is known, without binding a signature."""
    if type(expected_type) is types.UnionType:
        typeguard.check_union(argname, value, expected_type, memo)
    else:
        _check_type(argname, value, expected_type, memo, **names)


typeguard.check_type = check_type


def typechecked(function: Callable) -> Callable:
    """`typeguard.typechecked` of a function that keeps its signature at hand."""
    if inspect.isfunction(function):
        function.__signature__ = inspect.signature(function)
    return typeguard.typechecked(function)
