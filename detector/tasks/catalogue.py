"""Lists of what is available, model cards, licences, and the versions that results depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector import __version__
from detector.detectors import DETECTORS
from detector.generators import GENERATORS
from detector.scoring.checkpoint import CARD, SHIPPED, read_card
from detector.types import Licensed


def describe_licence(name: str) -> str:
    """Return a line on the origin and the licence of a generator's weights; empty if they were trained here.

    Raises MissingExtra if the weights of another project are needed and not installed.
    """
    kind = GENERATORS.get(name)
    return f"{kind.notice()}\n" if isinstance(kind, Licensed) else ""


def list_registered() -> dict[str, dict[str, str]]:
    """Return kind -> name -> summary of the generators, detectors, metrics, perturbations and shipped weights."""
    from detector.pictures.perturbations import PERTURBATIONS
    from detector.statistics.metrics import METRICS

    found = {registry.kind + "s": {name: str(registry.facts(name).get("summary", "")) for name in registry}
             for registry in (GENERATORS, DETECTORS, METRICS, PERTURBATIONS)}  # fmt: skip
    cards = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))
    return found | {"shipped weights": dict.fromkeys(cards, "`detector list --card` shows its card")}


def describe_card(name: Path | str) -> list[tuple[str, str]]:
    """Return the card of shipped weights, or of a folder, as (entry, value) lines; CheckpointError if there is none."""
    folder = SHIPPED / name if (SHIPPED / name / CARD).is_file() else Path(name)
    lines: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                walk(f"{prefix}.{key}" if prefix else key, below)
        elif isinstance(value, list):
            lines.extend((prefix if i == 0 else "", _describe(item)) for i, item in enumerate(value))
        else:
            lines.append((prefix, _describe(value)))

    walk("", read_card(folder))
    return lines


def _describe(value: Any) -> str:
    """Return an entry of a card as text; a dict as its names and values, without empty ones."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_describe(entry)}" for key, entry in value.items() if entry != "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe_environment() -> dict[str, str]:
    """Return the versions of this package, Python and the libraries that results depend on."""
    import platform
    from importlib.metadata import version

    packages = ("numpy", "scipy", "pandas", "pillow", "onnxruntime")
    return {"detector": __version__, "python": platform.python_version()} | {p: version(p) for p in packages}
