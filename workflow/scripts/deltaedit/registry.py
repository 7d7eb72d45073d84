"""A folder of modules as a registry: the file is the registration, its name the entry's name.

Each module of such a folder has `Params`, a frozen keyword-only dataclass of its options.
"""

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any


def names(folder: Iterable[str]) -> list[str]:
    """List the public modules of a package, given its `__path__`, without importing them."""
    found = (module.name for module in pkgutil.iter_modules(folder))
    return sorted(name for name in found if not name.startswith("_"))


def unknown(noun: str, name: object, known: Iterable[str]) -> str:
    """Say that `name` is no `noun`, which one was perhaps meant, and which there are."""
    known = sorted(known)
    return f"{unknown_among(noun, name, known)} Known: {', '.join(known) or 'none'}"


def unknown_among(noun: str, name: object, known: Iterable[str]) -> str:
    """Say that `name` is no `noun`, and which one of very many was perhaps meant."""
    close = get_close_matches(str(name), sorted(known), n=1)
    return f"unknown {noun} {name!r}." + (f" Did you mean {close[0]!r}?" if close else "")


def load(package: str, noun: str, known: Iterable[str], name: str) -> types.ModuleType:
    """Import the module `name` of `package`; ValueError with the known names if there is none."""
    if name not in known:
        raise ValueError(unknown(noun, name, known))
    return importlib.import_module(f"{package}.{name}")


def build_params(cls: type, options: Mapping[str, Any]) -> Any:
    """Build the options dataclass `cls` from config values, checking names and types.

    Raises:
        ValueError: an option is unknown, missing, of the wrong type, or refused by `cls`.
    """
    hints = typing.get_type_hints(cls)
    for name in options:
        if name not in hints:
            raise ValueError(unknown("option", name, hints))
    for field in fields(cls):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in options:
            raise ValueError(f"option {field.name!r} is missing")
    return cls(**{name: _checked(name, value, hints[name]) for name, value in options.items()})


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type `hint` (int as float, nothing else); ValueError otherwise."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    allowed = typing.get_args(hint) if is_union else (hint,)
    for kind in allowed:
        if kind is float and type(value) in (int, float):
            return float(value)
        if typing.get_origin(kind) is typing.Literal and value in typing.get_args(kind):
            return value
        if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
            return tuple(_checked(name, item, typing.get_args(kind)[0]) for item in value)
        if typing.get_origin(kind) is Mapping and isinstance(value, Mapping):
            return dict(value)
        if isinstance(kind, type) and type(value) is kind:
            return value
    wanted = " or ".join(_in_words(kind) for kind in allowed)
    raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _in_words(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        values = ", ".join(map(repr, typing.get_args(kind)))
        return f"one of {values}" if "," in values else values
    if typing.get_origin(kind) is tuple:
        return f"a list, each {_in_words(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is Mapping:
        return "a mapping"
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    return words.get(kind, "null" if kind is types.NoneType else str(kind))
