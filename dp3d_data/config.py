"""Typed, frozen settings: TOML in and out, near matches for unknown keys, and the fingerprint of a recipe."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from dp3d_data.errors import ConfigError, InputCorrupt, InputMissing
from dp3d_data.files import read_text
from dp3d_data.limits import parse_toml

Config = TypeVar("Config")


def setting(
    default: Any,
    help: str,
    *,
    group: str = "Options",
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A documented field of a configuration: its default, help text, option group and allowed values."""
    metadata = {"help": help, "group": group, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


def plain(config: Any) -> Any:
    """A configuration as plain dicts, lists, strings, numbers and booleans."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {str(key): plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def fingerprint(*parts: Any) -> str:
    """The first 12 hex digits of the SHA-256 of the parts' canonical JSON: the name of a recipe."""
    text = json.dumps(plain(list(parts)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_toml(config: Any) -> str:
    """A flat configuration as TOML, one commented line per setting; unset ones are left out."""
    lines = []
    for field in dataclasses.fields(config):
        value = plain(getattr(config, field.name))
        if value is None:
            continue
        lines.append(f"# {field.metadata.get('help', '')}")
        text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows DEL as it is, TOML does not
        lines.append(f"{field.name} = {text}")
    return "\n".join(lines) + "\n"


def from_toml(cls: type[Config], path: str | Path) -> Config:
    """Read a configuration from TOML.

    Raises:
        InputMissing: no such file.
        ConfigError: not TOML, an unknown key (with the near match), a wrong type or a value out of range.
    """
    return from_mapping(cls, read_toml(path), path=path)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        InputMissing: no such file.
        ConfigError: not TOML.
    """
    if not Path(path).is_file():
        raise InputMissing("no such configuration file", path=path)
    try:
        return parse_toml(read_text(path))
    except (ValueError, OSError, InputCorrupt) as error:
        got = error.got if isinstance(error, InputCorrupt) else error
        raise ConfigError("not a TOML file", got=got, expected="lines such as: score = 0.5", path=path) from error


def from_mapping(cls: type[Config], values: dict[str, Any], path: str | Path | None = None) -> Config:
    """Build and check a configuration from plain values.

    Raises:
        ConfigError: an unknown key (with the near match), a wrong type or a value out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    types_of = typing.get_type_hints(cls)
    clean = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known settings: {', '.join(fields)}"
            raise ConfigError(f"unknown setting {key!r}", hint=hint, path=path)
        clean[name] = _checked(fields[name], types_of[name], value, path)
    return cls(**clean)


def _checked(field: dataclasses.Field, kind: Any, value: Any, path: str | Path | None) -> Any:
    value = _coerced(field.name, kind, value, path)
    choices, low, high = (field.metadata.get(key) for key in ("choices", "minimum", "maximum"))
    for item in value if isinstance(value, tuple) else (value,):
        if item is None:
            continue
        if choices and item not in choices:
            near = difflib.get_close_matches(str(item), choices, n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            expected = "one of " + ", ".join(choices)
            raise ConfigError(f"unknown value of {field.name!r}", got=repr(item), expected=expected, hint=hint, path=path)
        if (low is not None and not item >= low) or (high is not None and not item <= high):
            expected = f"{'' if low is None else low} .. {'' if high is None else high}"
            raise ConfigError(f"{field.name!r} is out of range", got=item, expected=expected, path=path)
    return value


def _coerced(name: str, kind: Any, value: Any, path: str | Path | None) -> Any:
    """The value in its declared type: a list becomes a tuple, an int a float; nothing else is bent."""
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union else ()
    if members:
        if value is None and type(None) in members:
            return None
        kind = next(member for member in members if member is not type(None))
    if typing.get_origin(kind) is tuple:
        if isinstance(value, (list, tuple)):
            item = typing.get_args(kind)[0]
            return tuple(_coerced(name, item, part, path) for part in value)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool)):
        return value
    raise ConfigError(f"{name!r} has the wrong type", got=repr(value), expected=getattr(kind, "__name__", str(kind)), path=path)


def workspace(category: str | None = None) -> Path:
    """The folder where commands leave and look for results: DP3D_WORKSPACE or ./dp3d, and the category's part of it."""
    root = Path(os.environ.get("DP3D_WORKSPACE", "dp3d"))
    return root / category if category else root


def cache_dir() -> Path:
    """Where derived data that can be computed again is kept: DP3D_CACHE or ~/.cache/dp3d."""
    return Path(os.environ.get("DP3D_CACHE", Path.home() / ".cache" / "dp3d"))
