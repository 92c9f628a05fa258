"""A checkpoint is a folder: `card.json` says what it is, `weights.safetensors` holds the numbers. No pickles.

Read without torch, so that scoring can. The card names the registry's thing and its constructor arguments, which is
all that is needed to build it again; whatever else it says (data, seed, limits, measured results) is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from detector.errors import CheckpointError
from detector.files import sha256, write_bytes, write_text

CARD, WEIGHTS, MODEL = "card.json", "weights.safetensors", "model.onnx"

SHIPPED = Path(__file__).parents[1] / "weights"
QUICKSTART = Path("quickstart")  # where `detector quickstart` leaves what it trained, below the working folder

KINDS = ("detector", "generator")

Tensors = dict[str, NDArray[Any]]


def write_checkpoint(folder: Path | str, tensors: Tensors, card: Mapping[str, Any]) -> None:
    """Write both files; the card comes last, so that a folder with a card is whole."""
    folder = Path(folder)
    write_bytes(folder / WEIGHTS, save({name: np.array(tensor, order="C") for name, tensor in tensors.items()}))
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")


def read_card(folder: Path | str, kind: str = "") -> dict[str, Any]:
    """Return the card of a folder that holds a `kind`, "detector" or "generator"; without one, either will do.

    Raises CheckpointError if the folder holds neither, or the other.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text())
    except OSError:
        command = f"detector train {kind}".strip()
        raise CheckpointError(f"{folder} holds no {CARD}; name a folder that `{command}` wrote") from None
    except ValueError:
        raise CheckpointError(f"{path} is not JSON; the checkpoint is damaged") from None
    if not isinstance(card, dict) or not any(k in card for k in ([kind] if kind else KINDS)):
        raise CheckpointError(f"{folder} does not hold a {kind or ' or a '.join(KINDS)}")
    return card


def read_tensors(folder: Path | str) -> Tensors:
    """Return the numbers of a checkpoint; CheckpointError if they are missing or damaged."""
    path = Path(folder) / WEIGHTS
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def find_checkpoint(kind: str, name: str) -> Path:
    """Return the folder of the weights to use when none is named: the shipped ones, else those quickstart made.

    Raises CheckpointError if there are neither.
    """
    largest_first = sorted(SHIPPED.glob(f"{name}-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)
    for folder in (SHIPPED / name, *largest_first, QUICKSTART / "weights" / name):
        if (folder / CARD).is_file():
            return folder
    raise CheckpointError(
        f"there are no weights for the {kind} {name!r}: run `detector quickstart` here, or name a folder that "
        f"`detector train {kind}` wrote"
    )


def digest_checkpoint(folder: Path | str) -> str:
    """Return a hash of everything in a checkpoint that decides its answers."""
    parts = (Path(folder) / name for name in (CARD, WEIGHTS, MODEL))
    return sha256("".join(sha256(p.read_bytes()) for p in parts if p.is_file()).encode())
