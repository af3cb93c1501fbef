"""Typed, frozen settings: words and TOML in, TOML out, near matches for unknown names; fingerprints."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import types
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dp3d_data.errors import ConfigError, InputCorrupt, InputMissing, near_match
from dp3d_data.files import read_text
from dp3d_data.limits import parse_toml

Config = TypeVar("Config")


def setting(
    default: Any,
    help: str,
    *,
    group: str = "",
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    common: bool = True,
    was: str = "",
) -> Any:
    """A documented field of a configuration.

    Args:
        group: heading that it stands under; the name of its section where empty.
        choices, minimum, maximum: what it may be.
        common: an option of the command; otherwise (`rare`) it is reached by `--set` and listed by `--help-all`.
        was: its name before version 0.2, where that was neither this one nor this one with underscores.
    """
    limits = {"choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(
        default=default, metadata={"help": help, "group": group, "common": common, "was": was, **limits}
    )


# A setting that is no option, since few need it.
rare = partial(setting, common=False)


class Declared(NamedTuple):
    """A setting as its configuration declares it; `name` is dotted where it stands in a section: loss.arap."""

    name: str
    field: dataclasses.Field
    kind: Any

    @property
    def leaf(self) -> str:
        """The name without its section."""
        return self.name.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The heading that it stands under."""
        return self.field.metadata.get("group") or self.name.rpartition(".")[0].capitalize() or "Options"

    @property
    def item(self) -> Any:
        """The type of a value; of one of several where the setting takes several."""
        kind = next((member for member in _members(self.kind) if member is not type(None)), self.kind)
        return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind

    @property
    def several(self) -> bool:
        """Whether it takes several values."""
        return typing.get_origin(self.kind) is tuple

    def values(self) -> str:
        """What it may be, in a few words: true|false, int >= 1, text."""
        choices, low, high = (self.field.metadata.get(key) for key in ("choices", "minimum", "maximum"))
        names = {bool: "true|false", str: "text", Path: "path"}
        kind = names.get(self.item, getattr(self.item, "__name__", "text"))
        word = "|".join(filter(None, choices)) if choices else kind
        ends = f" {low:g}..{high:g}" if None not in (low, high) else f" >= {low:g}" if low is not None else ""
        return f"{word}{ends}" + (", several" if self.several else "")


@cache
def declared(cls: type) -> dict[str, Declared]:
    """Every setting of a configuration by its dotted name, those of sections (configurations in it) after its own."""
    own: dict[str, Declared] = {}
    sections: dict[str, Declared] = {}
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = kinds[field.name]
        if dataclasses.is_dataclass(kind):
            inner = {f"{field.name}.{name}": one for name, one in declared(typing.cast(type, kind)).items()}
            sections |= {name: one._replace(name=name) for name, one in inner.items()}
        else:
            own[field.name] = Declared(field.name, field, kind)
    return own | sections


@cache
def former_names(cls: type) -> dict[str, str]:
    """Name before version 0.2 -> name, of every setting that moved or was renamed."""
    pairs = {one.field.metadata.get("was") or one.leaf: name for name, one in declared(cls).items()}
    return {old: name for old, name in pairs.items() if old != name}


def plain(config: Any) -> Any:
    """A configuration as plain dicts, lists, strings, numbers and booleans."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {str(key): plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def fingerprint_of(*parts: Any) -> str:
    """The first 12 hex digits of the SHA-256 of the parts' canonical JSON: a run's name for what it was made with."""
    text = json.dumps(plain(list(parts)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_toml(config: Any) -> str:
    """A configuration as TOML, one commented line per setting, a table per section; unset ones are left out."""
    lines, sections = [], []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            sections.append(f"\n[{field.name}]\n{to_toml(value)}")
        elif value is not None:
            text = json.dumps(plain(value), ensure_ascii=False)
            text = text.replace("\x7f", "\\u007f")  # JSON allows DEL as it is, TOML does not
            lines.append(f"# {field.metadata.get('help', '')}\n{field.name} = {text}\n")
    return "".join(lines + sections)


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


def part_of(config: Any, cls: type[Config]) -> Config:
    """The settings of a configuration that one which it stands on has too."""
    names = (field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]
    return cls(**{name: getattr(config, name) for name in names})


def from_mapping(cls: type[Config], values: Mapping[str, Any], path: str | Path | None = None) -> Config:
    """Build and check a configuration from plain values; see `changed`."""
    return changed(cls(), values, path)


def changed(config: Config, values: Mapping[str, Any], path: str | Path | None = None) -> Config:
    """A configuration with other values, checked.

    Args:
        values: by name; those of a section by dotted names, or in a table of their own: {"loss": {"arap": 0.3}}.
        path: of the file that holds them.

    Raises:
        ConfigError: an unknown name (with the near match), a wrong type or a value out of range.
    """
    kind: type = type(config)
    known, clean = declared(kind), {}
    for name, value in flat(values).items():
        if value == {} and any(one.startswith(f"{name}.") for one in known):
            continue
        clean[name] = _checked(known.get(name) or _unknown(kind, name, path), value, path)
    return _replaced(config, clean)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their dotted names, - as _."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        table = isinstance(value, Mapping) and value
        found |= {f"{name}.{inner}": one for inner, one in flat(value).items()} if table else {name: value}
    return found


def from_words(cls: type, words: Iterable[str]) -> dict[str, Any]:
    """Values by dotted name, of words such as "loss.arap=0.3"; several values of one setting come one by one.

    Raises:
        ConfigError: not NAME=VALUE, an unknown name, a value of another type, or a name twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        name = key.strip().replace("-", "_")
        if not (equals and name):
            raise ConfigError("not a setting and its value", got=repr(word), expected="NAME=VALUE, such as seed=3")
        one = declared(cls).get(name) or _unknown(cls, name, None)
        value = _typed(one.item, text.strip())
        if one.several:
            found[name] = (*found.get(name, ()), value)
        elif name in found:
            raise ConfigError(f"{name!r} is set twice", got=f"{found[name]!r} and {value!r}", expected="one value")
        else:
            found[name] = _checked(one, value, None)
    return found


def _typed(kind: Any, text: str) -> Any:
    """A word as its type; what does not fit stays a word, which the check refuses."""
    if kind is bool:
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    with suppress(ValueError):
        return kind(text) if kind in (int, float) else text
    return text


def _unknown(cls: type, name: str, path: str | Path | None) -> typing.NoReturn:
    """Say which settings may be meant: of that name in a section, of that name before, or of a like one."""
    known, leaf, former = declared(cls), name.rpartition(".")[2], former_names(cls)
    if now := former.get(name):
        raise ConfigError(f"unknown setting {name!r}", hint=f"since version 0.2 it is {now!r}", path=path)
    alike = difflib.get_close_matches(leaf, [*(one.leaf for one in known.values()), *former], n=1)
    near = [other for other, one in known.items() if one.leaf == leaf] or difflib.get_close_matches(name, known, n=1)
    near = near or [other for other, one in known.items() if one.leaf in alike]
    near = near or [former[other] for other in alike]
    few, many = f"known settings: {', '.join(known)}", "see --help-all of the command for every setting"
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else few if len(known) <= 20 else many
    raise ConfigError(f"unknown setting {name!r}", hint=hint, path=path)


def _replaced(config: Any, values: Mapping[str, Any]) -> Any:
    """The configuration with checked values by dotted name."""
    own: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for section in {name.partition(".")[0]: None for name in values if "." in name}:
        start = f"{section}."
        inner = {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}
        own[section] = _replaced(getattr(config, section), inner)
    return dataclasses.replace(config, **own)


def _checked(one: Declared, value: Any, path: str | Path | None) -> Any:
    value = _coerced(one.name, one.kind, value, path)
    choices, low, high = (one.field.metadata.get(key) for key in ("choices", "minimum", "maximum"))
    for item in value if isinstance(value, tuple) else (value,):
        if item is None:
            continue
        if choices and item not in choices:
            expected, hint = "one of " + ", ".join(choices), near_match(str(item), choices)
            raise ConfigError(f"unknown value of {one.name!r}", got=repr(item), expected=expected, hint=hint, path=path)
        if (low is not None and not item >= low) or (high is not None and not item <= high):
            expected = f"{'' if low is None else low} .. {'' if high is None else high}"
            raise ConfigError(f"{one.name!r} is out of range", got=item, expected=expected, path=path)
    return value


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union; none where it is no union."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union else ()


def _coerced(name: str, kind: Any, value: Any, path: str | Path | None) -> Any:
    """The value in its declared type: a list becomes a tuple, an int a float; nothing else is bent."""
    if members := _members(kind):
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
    expected = getattr(kind, "__name__", str(kind))
    raise ConfigError(f"{name!r} has the wrong type", got=repr(value), expected=expected, path=path)


def workspace(category: str | None = None) -> Path:
    """The folder where commands leave and look for results: DP3D_WORKSPACE or ./dp3d-out; a category's part of it."""
    root = Path(os.environ.get("DP3D_WORKSPACE", "dp3d-out"))
    return root / category if category else root


def cache_dir() -> Path:
    """Where derived data that can be computed again is kept: DP3D_CACHE or ~/.cache/dp3d."""
    return Path(os.environ.get("DP3D_CACHE", Path.home() / ".cache" / "dp3d"))
