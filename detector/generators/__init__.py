"""The generators: each has a file of its own, with its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from detector.errors import DetectorError
from detector.registry import Registry, check_options
from detector.scoring.checkpoint import find_checkpoint, read_card
from detector.types import Generator, Trainable

GENERATORS: Registry[type[Generator]] = Registry("generator", "detector.generators")


def load_generator(name: str, weights: Path | str | None = None) -> Generator:
    """Return a generator, with its weights if it has any.

    weights: folder of a checkpoint; None takes the shipped one.

    Raises UnknownName for another name, CheckpointError if there are no weights, and DetectorError if the generator
    takes none.
    """
    kind = GENERATORS.get(name)
    if not issubclass(kind, Trainable):
        if weights is not None:
            raise DetectorError(f"{name} takes no weights; leave out --weights")
        return kind()
    folder = Path(weights) if weights is not None else find_checkpoint("generator", name)
    card = read_card(folder, "generator")
    if card["generator"] != name:
        raise DetectorError(f"{folder} holds the generator {card['generator']!r}, not {name!r}")
    return kind.load(folder)


def generator_options(name: str, changes: Mapping[str, Any], start: Path | str | None = None) -> dict[str, Any]:
    """Return the keyword arguments of a generator's `fit`: the options that it declares in the registry, with changes.

    changes: name of an option -> its new value; None keeps the declared value. start: weights to begin from.

    Raises DetectorError that names an option which the training of this generator does not have.
    """
    kind = GENERATORS.get(name)
    chosen = {k: v for k, v in changes.items() if v is not None}
    declared: Any = GENERATORS.facts(name).get("options")
    known = set() if declared is None else {field.name for field in fields(declared)}
    for option in sorted(set(chosen) - known):
        flag = "minutes" if option == "seconds" else option
        raise DetectorError(f"the training of {name} has no {flag} to choose; leave out --{flag}")
    options: dict[str, Any] = {"options": replace(declared, **chosen)} if chosen else {}
    if start is not None:
        options["start"] = Path(start)
        check_options(f"the training of {name}", getattr(kind, "fit", kind), options)
    return options
