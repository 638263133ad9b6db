"""Frozen dataclasses, read strictly from YAML and written back.

An unknown key, a value of the wrong kind or out of range is a SpecError that names the file, the key and what would be
accepted. Fields left out take their defaults. A section may have a method `check`, which raises SpecError where its
fields do not fit together.

A schedule (`Ramp`) is written as a number, or as `[from, to]`: linear in the share of training that is done.
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from renderer.errors import SpecError

T = TypeVar("T")


def ranged(default: Any, low: float, high: float, about: str) -> Any:
    """A field whose value, or each of whose numbers, lies in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high, "about": about})


def noted(default: Any, about: str) -> Any:
    """A field with its meaning."""
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Ramp:
    """A number that changes linearly while training goes on."""

    start: float
    end: float

    def at(self, progress: float) -> float:
        """Value when `progress`, in [0, 1], of the training is done."""
        return self.start + (self.end - self.start) * min(max(progress, 0.0), 1.0)

    @property
    def used(self) -> bool:
        """Whether it is anything but 0 all the time."""
        return self.start > 0 or self.end > 0


# ---------------------------------------------------------------- reading


def read(kind: type[T], raw: Mapping[str, Any], source: str) -> T:
    """A dataclass from plain values. source: where they came from, for messages. Raises SpecError."""
    return _build(kind, raw, "", source)


def override(section: T, values: Mapping[str, Any], source: str) -> T:
    """The dataclass with some fields replaced. values: dotted key -> value, for example {"data.batch_size": 8}."""
    tree = to_plain(section)
    for key, value in values.items():
        _set(tree, key, value, source)
    return read(type(section), tree, source)


def to_plain(config: Any) -> dict[str, Any]:
    """A config as plain values that `parse_config` reads back to an equal config."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def to_yaml(config: Any) -> str:
    """The whole config as YAML."""
    return yaml.safe_dump(to_plain(config), sort_keys=False, width=120)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"start", "end"}:  # a Ramp
            return value["start"] if value["start"] == value["end"] else [value["start"], value["end"]]
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _set(tree: dict[str, Any], key: str, value: Any, source: str) -> None:
    *path, last = key.split(".")
    node = tree
    for i, part in enumerate([*path, last]):
        if not isinstance(node, dict) or part not in node:
            known = list(node) if isinstance(node, dict) else []
            raise SpecError(f"{source}: no key {'.'.join([*path, last][: i + 1])!r}{_suggest(part, known)}")
        if i < len(path):
            node = node[part]
    node[last] = value


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys are {', '.join(known)}"


def _build(cls: type[T], raw: Any, where: str, source: str) -> T:
    if not isinstance(raw, Mapping):
        raise SpecError(f"{source}: {where or 'the spec'} must be a mapping, not {raw!r}")
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise SpecError(f"{source}: unknown key {name!r}{_suggest(str(key), list(known))}")
        values[key] = _convert(hints[key], value, name, source)
        _check_range(known[key].metadata, values[key], name, source)
    missing = [n for n, f in known.items() if n not in values and f.default is f.default_factory is MISSING]
    if missing:
        raise SpecError(f"{source}: {where or 'the spec'} lacks {', '.join(missing)}")
    section = cls(**values)
    try:
        getattr(section, "check", lambda: None)()
    except SpecError as error:  # its text begins with the name of a field
        raise SpecError(f"{source}: {where}{'.' * bool(where)}{error}") from error
    return section


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    """One value to the type of its field."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Ramp:
        ends = value if isinstance(value, (list, tuple)) else [value, value]
        if len(ends) != 2:
            raise SpecError(f"{source}: {name} must be a number or [from, to], not {value!r}")
        return Ramp(*(_convert(float, end, name, source) for end in ends))
    if isinstance(hint, type) and is_dataclass(hint):
        return _build(hint, value, name, source)
    if origin is Literal:
        if value not in args:
            raise SpecError(f"{source}: {name} is {value!r}; it must be one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or (args[-1] is not Ellipsis and len(value) != len(args)):
            wanted = "a list" if args[-1] is Ellipsis else f"a list of {len(args)} values"
            raise SpecError(f"{source}: {name} must be {wanted}, not {value!r}")
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_convert(kind, item, name, source) for kind, item in zip(kinds, value, strict=True))
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(args[0], value, name, source)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    hint_text = " (YAML reads 1e-4 as text; write 1.0e-4)" if hint is float and isinstance(value, str) else ""
    raise SpecError(f"{source}: {name} must be {hint.__name__}, not {value!r}{hint_text}")


def _check_range(metadata: Mapping[str, Any], value: Any, name: str, source: str) -> None:
    if "low" not in metadata:
        return
    numbers = value if isinstance(value, tuple) else (value.start, value.end) if isinstance(value, Ramp) else (value,)
    for number in numbers:
        if not (math.isfinite(number) and metadata["low"] <= number <= metadata["high"]):
            raise SpecError(f"{source}: {name} is {number}; it must lie in [{metadata['low']}, {metadata['high']}]")
