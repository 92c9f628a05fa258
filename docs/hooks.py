"""What the documentation site adds to its pages: the tables of commands and of the model card, made when it is built.

MkDocs calls `on_page_markdown` for every page. Links to files outside `docs/`, which the site does not have, become
their text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")  # a link to a file of the repository that is no page


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the text of a page with `<!-- commands -->` and `<!-- card -->` replaced."""
    for mark, make in (("<!-- commands -->", list_commands), ("<!-- card -->", describe_card)):
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(make()))
    return OUTSIDE.sub(r"\1", markdown)


def list_commands() -> Iterator[str]:
    """Yield a section for each command: what it does, its arguments and its options."""
    import typer

    from detector.cli import app

    group: Any = typer.main.get_command(app)
    commands = {name: command for name, command in group.commands.items() if not hasattr(command, "commands")}
    for name, command in group.commands.items():
        commands |= {f"{name} {below}": c for below, c in getattr(command, "commands", {}).items()}
    for name, command in sorted(commands.items()):
        yield from (f"## detector {name}", "", command.help.replace("\n\n", "\n").strip(), "")
        rows = [(_name(p), getattr(p, "help", "") or "") for p in command.params if p.name != "help"]
        yield from _table(("argument or option", "meaning"), rows)


def describe_card() -> Iterator[str]:
    """Yield the sections of the shipped detector's model card."""
    from detector.scoring.checkpoint import find_checkpoint, read_card

    card = read_card(find_checkpoint("detector", "default"), "detector")
    yield from ("## Purpose", "", card["intended_use"], "", "## Limits", "", *(f"- {text}" for text in card["limits"]))
    yield from ("", "## Verdicts on pictures that neither trained nor calibrated", "")
    shares: dict[str, dict[str, Any]] = {}
    for row in card["verdicts_on_unseen"]:
        shares.setdefault(row["source"], {})[row["verdict"]] = row
    verdicts = ("likely-fake", "inconclusive", "likely-real")
    yield from _table(("pictures", "n", *verdicts), (
        (source, next(iter(found.values()))["n"], *(_share(found.get(verdict)) for verdict in verdicts))
        for source, found in shares.items()
    ))  # fmt: skip
    yield from ("## Photographs called likely-fake", "")
    yield from _table(("photographs", "n", "called", "share"), (
        (row["source"], row["n"], row["alarms"], _share(row)) for row in card["false_alarms_by_source"]
    ))  # fmt: skip
    yield from ("## Calibration", "")
    names = {"fake_above": "likely-fake above", "real_below": "likely-real below", "low": "least log10 LR",
             "high": "largest log10 LR", "n_real": "photographs", "n_fake": "fakes"}  # fmt: skip
    yield from _table(("", ""), ((words, f"{card['calibration'][key]:.4g}") for key, words in names.items()))
    yield from ("## Origin", "", f"Recipe: {card['recipe']}", "", f"Sources: {card['citation']}", "",
                f"Licence: {card['licence']}", "")  # fmt: skip


def _name(parameter: Any) -> str:
    """Return the spellings of an option, or the name of an argument."""
    named = [word for word in parameter.opts if word.startswith("-")]
    return " ".join(f"`{word}`" for word in named) or f"`{parameter.name.upper()}`"


def _share(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}]".replace("%", " %")


def _table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    heads = list(heads)
    for cells in (heads, ["---"] * len(heads), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    yield ""
