"""Read and write checkpoints: folders with a model card (`card.json`) and weights (`weights.safetensors`), no pickles.

Reading needs no torch, because scoring must not import it. The card names the detector or generator in the registry
and its constructor arguments, which suffice to build it again; everything else in it (data, seed, limits, measured
results) is for people.
"""

from __future__ import annotations

import json
import zlib
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
COMPRESSED = f"{MODEL}.gz"  # takes the place of MODEL for a large network
COMPRESSED_ABOVE = 50_000_000  # size in bytes above which a network is compressed
MAX_MODEL = 1_000_000_000  # largest size in bytes of a network that was compressed
GZIP = 31  # `wbits` with which zlib writes and reads the format of gzip

SHIPPED = Path(__file__).parents[1] / "weights"
QUICKSTART = Path("quickstart")  # folder below the working folder in which `detector quickstart` saves its weights

KINDS = ("detector", "generator")
DECISIVE = (*KINDS, "arguments", "calibration")  # entries of a card that the scores depend on

# Where an ONNX file holds tensors: message -> {number of a field: message in it}. "outside" is the list of places in
# other files that hold the numbers of a tensor. Source: onnx.proto3 of ONNX 1.17.
ONNX = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "outside"},
}

Tensors = dict[str, NDArray[Any]]


def write_checkpoint(folder: Path | str, tensors: Tensors, card: Mapping[str, Any]) -> None:
    """Write both files, the card last, so that a folder with a card is complete."""
    folder = Path(folder)
    write_bytes(folder / WEIGHTS, save({name: np.array(tensor, order="C") for name, tensor in tensors.items()}))
    write_card(folder, card)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card of a folder, in place of the one that is there."""
    write_text(folder / CARD, json.dumps(card, indent=2) + "\n")


def read_card(folder: Path | str, kind: str = "") -> dict[str, Any]:
    """Return the card of a folder that holds a `kind`, "detector" or "generator"; either of them if `kind` is empty.

    Raises CheckpointError if the folder holds neither, or another kind.
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
    """Return the weights of a checkpoint; CheckpointError if they are missing or damaged."""
    path = Path(folder) / WEIGHTS
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def find_checkpoint(kind: str, name: str) -> Path:
    """Return the default folder of weights: the shipped weights, or else those that `detector quickstart` trained.

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


def find_named(name: Path | str) -> Path:
    """Return the folder of the shipped weights of that name, unless there is a file or folder of the same name here."""
    folder = Path(name)
    named = len(folder.parts) == 1 and not folder.exists() and (SHIPPED / folder / CARD).is_file()
    return SHIPPED / folder if named else folder


def digest_checkpoint(folder: Path | str) -> str:
    """Return a hash of everything in a checkpoint that the scores depend on, without the rest of the card.

    Raises CheckpointError if the card cannot be read, or if the network keeps numbers in further files.
    """
    folder = Path(folder)
    card = read_card(folder)
    parts = {key: card[key] for key in DECISIVE if key in card}
    files = {}
    if (folder / WEIGHTS).is_file():
        files[WEIGHTS] = sha256((folder / WEIGHTS).read_bytes())
    if find_model(folder).is_file():
        files[MODEL] = sha256(read_model(folder))
    return sha256(json.dumps(parts | files, sort_keys=True).encode())


def write_model(folder: Path, data: bytes) -> None:
    """Write an exported network, in place of the one that is there; a large one is compressed."""
    kept, other = (COMPRESSED, MODEL) if len(data) > COMPRESSED_ABOVE else (MODEL, COMPRESSED)
    if kept == COMPRESSED:  # weights repeat no sequences, so that only how often each byte occurs can be used
        coder = zlib.compressobj(9, wbits=GZIP, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
        data = coder.compress(data) + coder.flush()
    write_bytes(folder / kept, data)
    (folder / other).unlink(missing_ok=True)


def find_model(folder: Path) -> Path:
    """Return the file that holds an exported network, compressed or not; MODEL if there is none."""
    compressed = folder / COMPRESSED
    return compressed if compressed.exists() and not (folder / MODEL).exists() else folder / MODEL


def read_model(folder: Path) -> bytes:
    """Return the bytes of an exported network.

    Raises CheckpointError if there is none, if it is damaged or larger than MAX_MODEL, or if it keeps numbers in
    further files ("external data"): those are not covered by the digest, so that they could be exchanged unnoticed.
    """
    path = find_model(folder)
    try:
        data = path.read_bytes()
    except OSError:
        raise CheckpointError(f"{folder} holds no {MODEL}; train it again, which ends by exporting one") from None
    if path.name == COMPRESSED:
        data = _expand(data, path)
    try:
        outside = _refers_outside(memoryview(data), "model")
    except (IndexError, ValueError, RecursionError):
        raise CheckpointError(f"{path} is no ONNX file, or a damaged one; train it again") from None
    if outside:
        raise CheckpointError(f"{path} keeps numbers in further files, which its digest does not cover; save it as one")
    return data


def _expand(data: bytes, path: Path) -> bytes:
    """Return what gzip compressed; CheckpointError if it is damaged or larger than MAX_MODEL."""
    expander = zlib.decompressobj(GZIP)
    try:
        expanded = expander.decompress(data, MAX_MODEL)
    except zlib.error:
        raise CheckpointError(f"{path} is damaged; train it again") from None
    if not expander.eof:
        said = f"has more than {MAX_MODEL:,} bytes" if expander.unconsumed_tail else "ends too early"
        raise CheckpointError(f"{path} {said}; train it again")
    return expanded


def _refers_outside(data: memoryview, kind: str) -> bool:
    """Return whether an ONNX message holds a tensor whose numbers lie in another file.

    Raises IndexError, ValueError or RecursionError if it is not one.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == 2:
            length, at = _varint(data, at)
            inner = ONNX[kind].get(field)
            if inner == "outside" or (inner and _refers_outside(data[at : at + length], inner)):
                return True
            at += length
        elif wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
    return False


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return a number of Protocol Buffers and the place after it."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
