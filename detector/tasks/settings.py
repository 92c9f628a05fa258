"""Hyper-parameters of generators and detectors: their names and types, and the parsing of settings such as batch=16."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from detector.detectors import DETECTORS
from detector.errors import DetectorError, UnknownName
from detector.generators import GENERATORS
from detector.registry import Registry

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}
LARGEST_SIDE = 1024  # pixels, as of the option --size; the pictures of a larger `size` would take all memory
SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def list_settings(kind: str, name: str) -> dict[str, tuple[type, Any]]:
    """Return hyper-parameter -> (type, default): the options of a training run, and the arguments of the constructor.

    kind: "generator" or "detector". name: name of one. Raises UnknownName for a name that does not exist.
    """
    return {**_find_options(kind, name), **_find_arguments(kind, name)}


def read_settings(
    kind: str, name: str, settings: Iterable[str], chosen: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (arguments of the constructor, options of the training run) that settings such as batch=16 set.

    chosen: values that other options of the command line set, which may not be set again; None means not set.

    Raises DetectorError for text that is not a setting or a value of another type, and UnknownName, which lists all
    hyper-parameters, for an unknown one.
    """
    accepted = _find_arguments(kind, name)
    known = {**_find_options(kind, name), **accepted}
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals and text):
            raise DetectorError(f"a hyper-parameter is set once, such as batch=16, not {setting!r}")
        if text == "?":
            listed = ", ".join(f"{other}={default}" for other, (_, default) in known.items())
            raise DetectorError(f"{name} has these hyper-parameters, with their defaults: {listed}")
        if key not in known:
            raise UnknownName(f"hyper-parameter of {name}", key, known)
        if key in arguments or key in options or chosen.get(key) is not None:
            raise DetectorError(f"{key} is chosen twice; leave out one")
        (arguments if key in accepted else options)[key] = _read_value(key, text, known[key][0])
    return arguments, options


def _read_value(key: str, text: str, kind: type) -> Any:
    try:
        value = SWITCHES[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise DetectorError(f"{key} is {TYPE_NAMES[kind]}, not {text!r}") from None
    if isinstance(value, int | float) and (math.isnan(value) or value < 0):
        raise DetectorError(f"{key} is at least 0, not {text}")
    if key == "size" and value > LARGEST_SIDE:
        raise DetectorError(f"size is at most {LARGEST_SIDE} pixels, not {text}")
    return value


def _find_arguments(kind: str, name: str) -> dict[str, tuple[type, Any]]:
    """Return the arguments of a constructor whose type is int, float, bool or str."""
    registry: Registry[Any] = GENERATORS if kind == "generator" else DETECTORS
    make = registry.get(name).__init__
    hints = get_type_hints(make)
    found = {key: (hints.get(key), p.default) for key, p in inspect.signature(make).parameters.items()}
    return {key: (hint, default) for key, (hint, default) in found.items() if hint in (*TYPE_NAMES, str)}


def _find_options(kind: str, name: str) -> dict[str, tuple[type, Any]]:
    """Return the options of a training run that a generator declares."""
    declared: Any = GENERATORS.facts(name).get("options") if kind == "generator" else None
    if declared is None:
        return {}
    hints = get_type_hints(type(declared))
    return {field.name: (hints[field.name], getattr(declared, field.name)) for field in fields(declared)}
