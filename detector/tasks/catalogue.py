"""What there is: names, cards, licences, and the versions a figure depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector import __version__
from detector.detectors import DETECTORS
from detector.generators import GENERATORS
from detector.scoring.checkpoint import CARD, SHIPPED, read_card
from detector.types import Licensed


def describe_licence(name: str) -> str:
    """Return a line on where a generator's weights come from and what may be done with them; empty for our own.

    Raises MissingExtra if they are someone else's and not installed.
    """
    kind = GENERATORS.get(name)
    return f"{kind.notice()}\n" if isinstance(kind, Licensed) else ""


def list_things() -> dict[str, dict[str, str]]:
    """Return what there is, kind -> name -> what it is; imports no more than that takes."""
    from detector.pictures.perturbations import PERTURBATIONS
    from detector.statistics.metrics import METRICS

    things = {registry.kind + "s": {name: str(registry.facts(name).get("summary", "")) for name in registry}
              for registry in (GENERATORS, DETECTORS, METRICS, PERTURBATIONS)}  # fmt: skip
    cards = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))
    return things | {"shipped weights": dict.fromkeys(cards, "`detector list --card` shows its card")}


def describe_card(name: Path | str) -> list[tuple[str, str]]:
    """Return the card of shipped weights, or of a folder, as (what, value) lines; CheckpointError if there is none."""
    folder = SHIPPED / name if (SHIPPED / name / CARD).is_file() else Path(name)
    lines: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                walk(f"{prefix}.{key}" if prefix else key, below)
        elif isinstance(value, list):
            lines.extend((prefix if i == 0 else "", str(item)) for i, item in enumerate(value))
        else:
            lines.append((prefix, f"{value:.4g}" if isinstance(value, float) else str(value)))

    walk("", read_card(folder))
    return lines


def describe_environment() -> dict[str, str]:
    """Return the versions that a figure depends on."""
    import platform
    from importlib.metadata import version

    packages = ("numpy", "scipy", "pandas", "pillow", "onnxruntime")
    return {"detector": __version__, "python": platform.python_version()} | {p: version(p) for p in packages}
