"""Learn: a generator or a detector, from a manifest into a folder of weights."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from detector import __version__
from detector.dataset.manifest import describe_data, read_manifest
from detector.detectors import DETECTORS
from detector.errors import CheckpointError, DetectorError
from detector.files import check_folder, sweep, write_text
from detector.generators import GENERATORS, generator_options
from detector.registry import Registry
from detector.types import Progress, Trainable, silent

RECIPE = "training.json"  # the file in the folder that says what the weights were trained with
LENGTH = ("pictures", "seconds", "snapshot")  # options that may be changed when a training run is resumed


def train(
    kind: str,
    name: str,
    manifest: Path | str | pd.DataFrame,
    folder: Path | str,
    *,
    seed: int = 0,
    device: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Any:
    """Return the generator or detector that is trained on a manifest; its weights are written into a folder.

    kind: "generator" or "detector". name: of one; `detector list` shows them. manifest: a table or its path. A run
    that was interrupted is resumed from the folder. device: "cpu", "cuda", ...; None takes what there is. arguments:
    of the constructor, such as {"size": 64}. options: of its `fit`, or of a generator's run, such as pictures=20_000.
    columns: our name of a column -> its name in the
    manifest.

    Raises UnknownName for a name that does not exist, ManifestError if a class or split is missing, DetectorError for
    an argument it does not take or a device that is not there, CheckpointError that names what differs if the folder
    was trained with something else, OSError if the folder cannot be written.
    """
    registry: Registry[Any] = GENERATORS if kind == "generator" else DETECTORS
    table = manifest if isinstance(manifest, pd.DataFrame) else read_manifest(manifest, columns=columns)
    if not issubclass(registry.get(name), Trainable):
        raise DetectorError(f"{name} has nothing to learn; use it as it is, without training")
    try:
        thing = registry.get(name)(**(arguments or {}))
    except TypeError as error:
        raise DetectorError(f"{name} takes no such argument: {str(error).split('()')[-1].strip()}") from None
    if device is not None:
        _check_device(device)
    options = _gather_options(kind, name, options)
    folder = Path(folder)
    check_folder(folder)
    recipe = _describe(kind, name, seed, arguments or {}, options, describe_data(table)["manifest_sha256"], thing)
    _compare(folder, recipe)
    leads = int(os.environ.get("RANK", 0)) == 0  # under torchrun, one process writes
    if leads:
        sweep(folder, folder / "samples")
        write_text(folder / RECIPE, json.dumps(recipe, indent=1) + "\n")
    thing.fit(table, seed=seed, folder=folder, device=device, progress=progress, **options)
    if leads:
        thing.save(folder, seed=seed, version=__version__, data=describe_data(table))
    return thing


def _gather_options(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of `fit` in which those of a generator's run are one object, as it declares them."""
    declared: Any = GENERATORS.facts(name).get("options") if kind == "generator" else None
    run = {} if declared is None else {f.name: options[f.name] for f in fields(declared) if f.name in options}
    if not run:
        return dict(options)
    return {key: value for key, value in options.items() if key not in run} | generator_options(name, run)


def _describe(
    kind: str, name: str, seed: int, arguments: Mapping[str, Any], options: Mapping[str, Any], data: str, thing: Any
) -> dict[str, Any]:
    """Return everything that determines the weights, as JSON: the constructor's arguments and the options of `fit`."""
    given = inspect.signature(type(thing)).bind_partial(**arguments)
    given.apply_defaults()
    recipe: dict[str, Any] = {kind: name, "seed": seed, "pictures of the manifest": data, **given.arguments}
    for key, value in options.items():
        recipe |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {key: value}
    plain = {key: value for key, value in recipe.items() if key not in LENGTH}
    return dict(json.loads(json.dumps(plain, default=str)))


def _compare(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the folder was trained with another recipe."""
    try:
        before = json.loads((folder / RECIPE).read_text())
    except (OSError, ValueError):
        return
    differing = [key for key in {**before, **recipe} if before.get(key) != recipe.get(key)]
    if differing:
        shown = "; ".join(f"{key}: {_shown(before, key)} then, {_shown(recipe, key)} now" for key in differing[:4])
        raise CheckpointError(f"{folder} was trained with something else ({shown}); name another folder, or delete it")


def _shown(recipe: Mapping[str, Any], key: str) -> str:
    return "none" if recipe.get(key) is None else str(recipe[key])[:40]


def _check_device(name: str) -> None:
    """Raise DetectorError, before any picture is read, if there is no such device here."""
    from detector.learning.devices import pick_device

    pick_device(name)
