"""Shared fixtures: small pictures drawn from a seed, real photographs if they are there, and the command line."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share two cores; before torch is imported

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from detector.dataset.embedded import unpack_faces
from detector.dataset.manifest import COLUMNS, assign_splits, write_manifest
from detector.files import sha256
from detector.pictures.images import encode

ROOT = Path(__file__).parents[1]
SLOW = (  # files and folders of tests that train, start processes or bootstrap: more than two CPU seconds each
    "cli", "contracts",
    "dataset/test_audit.py", "dataset/test_shortcuts.py", "detectors", "evaluation/test_alignment.py",
    "evaluation/test_differences.py", "evaluation/test_gate.py", "evaluation/test_interrupted.py",
    "evaluation/test_measuring.py", "evaluation/test_naming.py",
    "evaluation/test_oddities.py", "evaluation/test_plots.py", "evaluation/test_report.py",
    "evaluation/test_source_effects.py", "evaluation/test_suites.py", "evidence/checks/test_compression.py",
    "evidence/test_feedback.py", "evidence/test_folders.py", "evidence/test_integrity.py", "evidence/test_record.py",
    "generators", "learning", "pictures/test_faces.py", "pictures/test_labelling.py", "pictures/test_sandbox.py",
    "scoring/test_engine.py", "scoring/test_engines.py", "scoring/test_runtime.py", "scoring/test_video.py", "service",
    "statistics/test_fairness.py", "statistics/test_intervals.py", "statistics/test_sources.py", "tasks",
    "test_documents.py", "test_hostile.py", "test_house_rules.py", "test_kills.py", "test_kills_measuring.py",
    "test_notebooks.py", "test_public.py", "test_quickstart.py", "test_registry.py",
)  # fmt: skip

LONG = (  # files of tests that take longest, in the order in which they start: no worker idles beside one at the end
    "test_quickstart.py", "test_notebooks.py", "test_documents.py", "test_house_rules.py", "dataset/test_audit.py",
    "cli/test_scoring.py", "test_kills.py",
    "tasks/test_training.py", "evaluation/test_interrupted.py", "cli/test_evaluating.py",
    "dataset/test_shortcuts.py", "test_kills_measuring.py", "statistics/test_intervals.py",
    "generators/test_stylegan.py", "evidence/test_record.py", "contracts/test_generators.py",
    "evaluation/test_source_effects.py", "cli/test_training.py",
)  # fmt: skip


def draw_picture(seed: int, *, size: int = 48, fake: bool = False) -> np.ndarray:
    """A smooth blob on a gradient; a "fake" one carries a checkerboard, as transposed convolutions leave."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    centre, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.15, 0.3)
    blob = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2)
    image = np.stack([rng.uniform(40, 120) + rng.uniform(60, 130) * blob + 30 * x for _ in range(3)], -1)
    image += rng.normal(0, 4, image.shape)
    if fake:
        image += 24 * ((np.indices((size, size)).sum(0) % 2)[..., None] - 0.5)
    return np.clip(image, 0, 255).astype(np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels and holds a few zeros."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def png_with(*chunks: bytes) -> bytes:
    """A small PNG with these chunks, name and body, behind its header."""
    plain = encode(draw_picture(1))
    body = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return plain[:33] + b"".join(body) + plain[33:]


def make_manifest(folder: Path, *, n: int = 60, size: int = 48, seed: int = 0) -> pd.DataFrame:
    """n reals and n fakes of two generators as PNG, one group each, split and written to `folder/manifest.csv`."""
    rows = []
    for i in range(2 * n):
        fake = i >= n
        path = folder / f"{i:04d}.png"
        data = encode(draw_picture(1000 * seed + i, size=size, fake=fake))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        generator = "" if not fake else "one" if i % 2 else "two"
        rows.append((str(path.resolve()), sha256(data), int(fake), generator, "drawn", f"g{seed}-{i}", "train", "ours"))
    table = assign_splits(pd.DataFrame(rows, columns=list(COLUMNS)), seed=seed)
    write_manifest(table, folder / "manifest.csv")
    return table


def unpack_fewer(folder: Path, *, seed: int = 0) -> pd.DataFrame:
    """Write the embedded photographs, and return the manifest of those of 12 of the 40 people, split by person."""
    table = unpack_faces(folder, seed=seed)
    return assign_splits(table[table.group.isin(table.group.unique()[:12])].reset_index(drop=True), seed=seed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files of LONG start first, and mark the tests of SLOW, which `make check` leaves out."""
    slow = [ROOT / "tests" / name for name in SLOW]
    rank = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))
    for item in items:
        if any(item.path.is_relative_to(path) for path in slow):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The drawn manifest; read only."""
    return make_manifest(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep fingerprints, certificates and feedback out of the user's home folder."""
    monkeypatch.setenv("DETECTOR_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development pictures, if this machine has one; the test is skipped otherwise."""
    folder = Path(os.environ.get("DETECTOR_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the development pictures are not on this machine")
    return folder


def write_key(path: Path) -> Path:
    """Write a new Ed25519 key, its public half beside it with the ending .pub, and return the path."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def run_command(
    *words: object, stdin: str = "", cwd: Path | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run `detector ...` as a user would, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "detector", *map(str, words)], input=stdin, capture_output=True, text=True,
        cwd=cwd, env=os.environ | {"COLUMNS": "200"} | settings, timeout=300, check=False,
    )  # fmt: skip


def run_inside(*words: object, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `detector ...` in the process of the test, which saves seconds of imports; its output is captured."""
    from detector import cli

    given, out, err = [str(word) for word in words], io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.chdir(cwd or Path.cwd())
        patch.setattr(sys, "argv", ["detector", *given])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return subprocess.CompletedProcess(given, int(ended.value.code or 0), out.getvalue(), err.getvalue())
