"""The generators: one file each, named as its file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from detector.errors import DetectorError
from detector.registry import Registry
from detector.scoring.checkpoint import find_checkpoint, read_card
from detector.types import Generator

GENERATORS: Registry[Any] = Registry("generator", "detector.generators")


def load_generator(name: str, weights: Path | str | None = None) -> Generator:
    """Return a generator with its weights; UnknownName or CheckpointError otherwise."""
    kind = GENERATORS.get(name)
    if not hasattr(kind, "load"):
        if weights is not None:
            raise DetectorError(f"{name} takes no weights; leave out --weights")
        plain: Generator = kind()
        return plain
    folder = Path(weights) if weights is not None else find_checkpoint("generator", name)
    card = read_card(folder, "generator")
    if card["generator"] != name:
        raise DetectorError(f"{folder} holds the generator {card['generator']!r}, not {name!r}")
    thing: Generator = kind.load(folder)
    return thing


def generator_options(name: str, given: Mapping[str, Any], start: Path | str | None = None) -> dict[str, Any]:
    """Return the options of a generator's `fit`: its defaults with what was given laid over them."""
    kind: Any = GENERATORS.get(name)
    if start is not None and "start" not in inspect.signature(getattr(kind, "fit", kind)).parameters:
        raise DetectorError(f"{name} cannot start from other weights; leave out --start")
    options: dict[str, Any] = {} if start is None else {"start": Path(start)}
    chosen = {k: v for k, v in given.items() if v is not None}
    if chosen:
        from detector.generators._adversarial import Options

        base = GENERATORS.facts(name).get("options", Options())
        takes = "options" in inspect.signature(getattr(kind, "fit", kind)).parameters
        for option in sorted(set(chosen) - ({f.name for f in fields(base)} if takes else set())):
            word = "minutes" if option == "seconds" else option
            raise DetectorError(f"the training of {name} has no {word} to choose; leave out --{word}")
        options["options"] = replace(base, **chosen)
    return options
