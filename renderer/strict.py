"""Frozen dataclasses out of YAML, strictly: one way to declare a knob, to read it, to change it and to list it.

Specs, trainings and cluster profiles are trees of frozen dataclasses whose fields are declared with `knob`. A section
may have a method `check(self)`, which raises SpecError if its fields do not fit together; its text begins with the
name of a field, and the reader adds where that stands. Whatever is wrong is one SpecError, in one line, that names the
source, the key, the value and what would be accepted.

Types of fields: bool, int, float, str, Literal, tuples and mappings of these, a number or a tuple, dataclasses, and
`Numbers`.
Why no library does this: docs/design/0006-one-strict-reader.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import reduce
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from renderer.errors import SpecError, did_you_mean

T = TypeVar("T")
UNITS: Final = {  # the last word of a knob's name: its unit
    **{"deg": "degrees", "m": "metres", "mm": "mm", "px": "pixels", "s": "seconds", "min": "minutes", "gb": "GB"},
    **{word: word for word in ("minutes", "frames", "samples", "steps", "epochs", "widths")},
}


def knob(
    default: Any,
    about: str,
    low: float | None = None,
    high: float | None = None,
    *,
    options: Iterable[str] = (),
    unit: str = "",
    path: bool = False,
) -> Any:
    """Declare a field of a section.

    about: its meaning, for people. low, high: closed range of its number, or of each of its numbers.
    options: the texts it, each of its items, or each of its keys may be, where `Literal` cannot list them.
    unit: where the last word of the name does not tell (`UNITS`). path: it names a file or folder.
    """
    metadata = {"about": about, "low": low, "high": high, "options": tuple(options), "unit": unit, "path": path}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


class Numbers:
    """Base of frozen dataclasses of floats that YAML writes as one number, or as a list where they have several."""

    def plain(self) -> float | list[float]:
        """What YAML holds of it."""
        numbers = [float(getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        return numbers if len(numbers) > 1 else numbers[0]


# ---------------------------------------------------------------- reading


def load(kind: type[T], path: Path) -> T:
    """A YAML file as a dataclass. Raises SpecError, with the line of the key at fault."""
    raw = load_yaml(path)
    try:
        return _section(kind, raw, "")
    except _Fault as fault:
        raise SpecError(f"{path}:{_line(path, fault.key)}: {fault}") from None


def read(kind: type[T], raw: Mapping[str, Any], source: str) -> T:
    """Plain values, as YAML or JSON give them, as a dataclass; `source` names them in messages. Raises SpecError."""
    try:
        return _section(kind, raw, "")
    except _Fault as fault:
        raise SpecError(f"{source}: {fault}") from None


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises SpecError."""
    try:
        raw = yaml.load(path.read_text("utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise SpecError(f"{path} must be a mapping of keys to values, not {type(raw).__name__}")
    return raw


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader keeps the last of two equal keys in silence; a spec must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Fault(Exception):
    """What is wrong with a key, before the reader says where the key comes from."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def _wrong(key: str, raw: Any, words: str) -> _Fault:
    return _Fault(key, f"{key} is {raw!r}; {words}")


def _line(path: Path, key: str) -> int:
    """Line of a dotted key in a YAML file, or of the innermost section of it that stands there."""
    node, line = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader), 1
    for part in key.split("."):
        for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if name.value == part:
                node, line = value, name.start_mark.line + 1
                break
        else:
            break
    return line


def _section(kind: type[T], raw: Any, where: str) -> T:
    """where: the section's dotted key, "" for the outermost."""
    if not isinstance(raw, Mapping | None):
        raise _wrong(where, raw, "it must be a mapping of keys to values")
    prefix, hints = f"{where}." if where else "", get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for name, value in (raw or {}).items():
        if name not in known:
            meant = did_you_mean(str(name), [*known, *(k.key for k in knobs(kind))])
            meant = meant or f"; known keys: {', '.join(known)}"
            raise _Fault(f"{prefix}{name}", f"unknown key '{prefix}{name}'{meant}")
        values[name] = _value(hints[name], value, known[name].metadata, f"{prefix}{name}")
    for name, f in known.items():
        if name not in values and f.default is f.default_factory is MISSING:
            raise _Fault(where, f"{prefix}{name} is missing")
    section = kind(**values)
    try:
        getattr(section, "check", lambda: None)()
    except SpecError as error:
        raise _Fault(f"{prefix}{str(error).split()[0]}", f"{prefix}{error}") from error
    return section


def _value(hint: Any, raw: Any, meta: Mapping[str, Any], key: str) -> Any:
    """One value as the type of its field. meta: what `knob` said of the field."""
    if get_origin(hint) is UnionType:  # a number or a tuple
        number, several = get_args(hint)
        hint = several if isinstance(raw, (list, tuple)) else number
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return raw
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return _numbers(hint, raw, meta, key) if issubclass(hint, Numbers) else _section(hint, raw, key)
    if origin is tuple:
        any_length = args[-1] is Ellipsis
        if not isinstance(raw, (list, tuple)) or not (any_length or len(raw) == len(args)):
            raise _wrong(key, raw, "it must be a list" + ("" if any_length else f" of {len(args)} values"))
        kinds = args[:1] * len(raw) if any_length else args
        return tuple(_value(kind, item, meta, key) for kind, item in zip(kinds, raw, strict=True))
    if origin is Mapping:
        if not isinstance(raw, Mapping):
            raise _wrong(key, raw, "it must be a mapping")
        return {_value(args[0], k, meta, key): _value(args[1], v, meta, f"{key}.{k}") for k, v in raw.items()}
    if hint in (int, float):
        return _number(hint, raw, meta, key)
    if hint is bool:
        if not isinstance(raw, bool):
            raise _wrong(key, raw, "it must be true or false")
        return raw
    if not isinstance(raw, str):
        raise _wrong(key, raw, "it must be a text, in quotes where YAML reads something else")
    assert hint is str or origin is Literal, f"{key}: fields cannot be {hint}"
    options = args or meta.get("options")
    if options and raw not in options:
        raise _wrong(key, raw, f"it must be one of {', '.join(options)}")
    return raw


def _numbers(kind: type, raw: Any, meta: Mapping[str, Any], key: str) -> Any:
    names = [f.name for f in fields(kind)]
    numbers = list(raw) if isinstance(raw, (list, tuple)) and len(names) > 1 else [raw] * len(names)
    if len(numbers) != len(names):
        raise _wrong(key, raw, f"give a number or [{', '.join(names)}]")
    value = kind(*(_number(float, number, meta, key) for number in numbers))
    try:
        getattr(value, "check", lambda: None)()
    except SpecError as error:
        raise _wrong(key, raw, str(error)) from error
    return value


def _number(hint: type, raw: Any, meta: Mapping[str, Any], key: str) -> Any:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        no_point = isinstance(raw, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", raw, re.IGNORECASE)
        how = " (YAML reads 1e-4 as text; write 1.0e-4)" if no_point else ""
        raise _wrong(key, raw, f"it must be a number{how}")
    if not (_low(meta) <= raw <= _high(meta) and math.isfinite(raw)):
        raise _wrong(key, raw, f"it must lie within {_low(meta):.10g} and {_high(meta):.10g}")
    if hint is int and raw != int(raw):
        raise _wrong(key, raw, "it must be a whole number")
    return hint(raw)


def _low(meta: Mapping[str, Any]) -> float:
    return -math.inf if meta.get("low") is None else float(meta["low"])


def _high(meta: Mapping[str, Any]) -> float:
    return math.inf if meta.get("high") is None else float(meta["high"])


# ---------------------------------------------------------------- writing and changing


def to_plain(section: Any) -> dict[str, Any]:
    """Plain values for YAML and JSON, every field spelled out: what `read` makes an equal dataclass of.

    Floats are floats however their default is written: plain values are hashed, and 1 must not differ from 1.0.
    """
    hints = get_type_hints(type(section))
    return {f.name: _plain(getattr(section, f.name), hints[f.name]) for f in fields(section)}


def to_yaml(section: Any) -> str:
    """The whole dataclass as YAML."""
    return yaml.safe_dump(to_plain(section), sort_keys=False, width=120)


def _plain(value: Any, hint: Any) -> Any:
    if isinstance(value, Numbers):
        return value.plain()
    if is_dataclass(value):
        return to_plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_plain(item, get_args(hint)[0]) for item in value]
    return float(value) if hint is float else value


def settings(texts: Iterable[str]) -> dict[str, Any]:
    """`--set SECTION.KEY=VALUE` of a command line as dotted keys with their values. Raises SpecError."""
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise SpecError(f"--set {text!r} is not of the form SECTION.KEY=VALUE")
        try:
            changes[key] = yaml.load(value, Loader=_UniqueKeys)
        except yaml.YAMLError as error:
            raise SpecError(f"--set {text!r} has a value that is not YAML") from error
    return changes


def override(section: T, changes: Mapping[str, Any], source: str) -> T:
    """The dataclass with some values replaced. changes: dotted keys such as "data.batch_size". Raises SpecError."""
    tree = to_plain(section)
    for key, value in changes.items():
        *sections, name = key.split(".")
        node = tree
        for part in sections:
            if not isinstance(node.get(part), dict):
                node[part] = {}  # no such section: `read` says so, and what there is
            node = node[part]
        node[name] = value
    return read(type(section), tree, source)


# ---------------------------------------------------------------- listing


@dataclass(frozen=True)
class Knob:
    """A knob as people see it."""

    key: str  # dotted
    default: Any  # plain
    accepted: str  # range or options
    unit: str
    path: bool  # it names a file or folder
    about: str


def knobs(kind: type, prefix: str = "") -> list[Knob]:
    """Every knob of a section and of those within it, in the order of their declaration."""
    found, hints = [], get_type_hints(kind)
    for f in fields(kind):
        hint = hints[f.name]
        if is_dataclass(hint) and not (isinstance(hint, type) and issubclass(hint, Numbers)):
            assert isinstance(hint, type)
            found += knobs(hint, f"{prefix}{f.name}.")
            continue
        default = f.default if f.default_factory is MISSING else f.default_factory()
        unit = f.metadata.get("unit") or UNITS.get(f.name.rpartition("_")[2], "")
        plain = "" if default is MISSING else _plain(default, hint)
        words = (_accepted(hint, f.metadata), unit, f.metadata.get("path", False), f.metadata.get("about", ""))
        found.append(Knob(f"{prefix}{f.name}", plain, *words))
    return found


def section_at(kind: type, key: str) -> type:
    """The dataclass of the section with this dotted key."""
    return reduce(lambda section, name: get_type_hints(section)[name], key.split("."), kind)


def _accepted(hint: Any, meta: Mapping[str, Any]) -> str:
    """A type and its bounds in words: "16 to 1024", "half, float"."""
    items = get_args(hint)
    if get_origin(hint) is Literal or meta.get("options"):
        return ", ".join(meta.get("options") or items)
    if hint is bool:
        return "true, false"
    if meta.get("low") is not None:
        return f"{_low(meta):.10g} to {_high(meta):.10g}"
    return "text" if hint is str else "texts" if items and items[0] is str else ""
