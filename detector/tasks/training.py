"""The task `train`: train a generator or a detector on a manifest, and save it to a folder of weights."""

from __future__ import annotations

import inspect
import json
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
from detector.learning.journal import logged_to
from detector.learning.processes import is_first
from detector.registry import Registry, check_options
from detector.types import Progress, Trainable, silent

RECIPE = "training.json"  # name of the file that records everything the weights were trained with
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
    log: str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Any:
    """Return a generator or a detector that is trained on a manifest; its weights are written to a folder.

    An interrupted run is resumed from the folder.

    kind: "generator" or "detector". name: name of one; `detector list` shows all. manifest: a table or its path.
    device: "cpu", "cuda", ...; None takes a GPU if there is one. arguments: arguments of the constructor, such as
    {"size": 64}. options: arguments of `fit`, or options of a generator's training run, such as pictures=20_000.
    columns: our name of a column -> its name in the manifest. log: "tensorboard" writes the figures of the run to the
    folder `tensorboard` below that of the weights.

    Raises UnknownName for a name that does not exist, ManifestError if a class or split is missing, DetectorError for
    an unknown argument or an absent device, MissingExtra if what `log` names is not installed, CheckpointError that
    names the differences if the folder was trained with other settings, OSError if the folder cannot be written.
    """
    registry: Registry[Any] = GENERATORS if kind == "generator" else DETECTORS
    table = manifest if isinstance(manifest, pd.DataFrame) else read_manifest(manifest, columns=columns)
    if not issubclass(registry.get(name), Trainable):
        raise DetectorError(f"{name} cannot be trained; use it without training")
    check_options(name, registry.get(name), arguments or {})
    model = registry.get(name)(**(arguments or {}))
    if device is not None:
        _check_device(device)
    options = _gather_options(kind, name, options)
    folder = Path(folder)
    check_folder(folder)
    recipe = _describe(kind, name, seed, arguments or {}, options, describe_data(table)["manifest_sha256"], model)
    _compare(folder, recipe)
    leads = is_first()  # under torchrun, only the first process writes
    with logged_to(log if leads else None, folder):
        if leads:
            sweep(folder, folder / "samples")
            write_text(folder / RECIPE, json.dumps(recipe, indent=1) + "\n")
        model.fit(table, seed=seed, folder=folder, device=device, progress=progress, **options)
    if leads:
        model.save(folder, seed=seed, version=__version__, data=describe_data(table))
    return model


def _gather_options(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `fit`, with the options of a generator's training run in the object that it declares."""
    declared: Any = GENERATORS.facts(name).get("options") if kind == "generator" else None
    run = {} if declared is None else {f.name: options[f.name] for f in fields(declared) if f.name in options}
    if not run:
        return dict(options)
    return {key: value for key, value in options.items() if key not in run} | generator_options(name, run)


def _describe(
    kind: str, name: str, seed: int, arguments: Mapping[str, Any], options: Mapping[str, Any], data: str, model: Any
) -> dict[str, Any]:
    """Return everything that determines the weights: the data, the arguments of the constructor and those of `fit`."""
    bound = inspect.signature(type(model)).bind_partial(**arguments)
    bound.apply_defaults()
    recipe: dict[str, Any] = {kind: name, "seed": seed, "pictures of the manifest": data, **bound.arguments}
    for key, value in options.items():
        recipe |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {key: value}
    plain = {key: value for key, value in recipe.items() if key not in LENGTH}
    return dict(json.loads(json.dumps(plain, default=str)))


def _compare(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the folder was trained with another recipe; a run that failed at once left nothing."""
    if not folder.is_dir() or {path.name for path in folder.iterdir()} <= {RECIPE}:
        return
    try:
        before = json.loads((folder / RECIPE).read_text())
    except (OSError, ValueError):
        return
    differing = [key for key in {**before, **recipe} if before.get(key) != recipe.get(key)]
    if differing:
        shown = "; ".join(f"{key}: {_shown(before, key)} then, {_shown(recipe, key)} now" for key in differing[:4])
        raise CheckpointError(f"{folder} was trained with other settings ({shown}); name another folder, or delete it")


def _shown(recipe: Mapping[str, Any], key: str) -> str:
    return "none" if recipe.get(key) is None else str(recipe[key])[:40]


def _check_device(name: str) -> None:
    """Raise DetectorError if there is no such device on this machine; it is called before any picture is read."""
    from detector.learning.devices import pick_device

    pick_device(name)
