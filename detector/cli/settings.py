"""Options of every command, wherever they stand: `--config`, `--json` and `--quiet`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FLAGS = ("--json", "--quiet")
CONFIG = "--config"


def split_words(words: Sequence[str]) -> tuple[list[str], set[str], Path | None]:
    """Return the words of a command without these options, the flags that were given, and the file of settings.

    Raises DetectorError if --config names no file, or stands twice.

    >>> split_words(["score", "--json", "a.jpg", "--config=run.toml", "--", "--quiet"])
    (['score', 'a.jpg', '--', '--quiet'], {'--json'}, PosixPath('run.toml'))
    """
    from detector.errors import DetectorError

    end = words.index("--") if "--" in words else len(words)
    kept: list[str] = []
    files: list[str] = []
    coming = iter(words[:end])
    for word in coming:
        if word == CONFIG:
            files.append(next(coming, ""))
        elif word.startswith(f"{CONFIG}="):
            files.append(word.partition("=")[2])
        elif word not in FLAGS:
            kept.append(word)
    if len(files) > 1 or "" in files:
        raise DetectorError("--config names one TOML file")
    flags = set(words[:end]) & set(FLAGS)
    return [*kept, *words[end:]], flags, Path(files[0]) if files else None


def read_settings(path: Path, command: Any) -> dict[str, Any]:
    """Return the options of commands that a TOML file sets, as Click takes them (`default_map`).

    command: the group of commands. A table is named as its command, a key as its option: `frames-out = "f.jsonl"` below
    `[score]`, `[train.detector]` for `train detector`.

    Raises DetectorError if the file is no TOML, or names a command or an option that does not exist.
    """
    from detector.errors import DetectorError

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DetectorError(f"{path.name} is no TOML file: {error}") from None
    return _read_group(found, command, path.name, "")


def _read_group(found: Mapping[str, Any], group: Any, name: str, above: str) -> dict[str, Any]:
    from detector.errors import DetectorError

    settings: dict[str, Any] = {}
    for key, value in found.items():
        command, title = group.commands.get(key), f"{above}{key}"
        if command is None or not isinstance(value, dict):
            known = ", ".join(sorted(group.commands))
            raise DetectorError(f"{name}: there is no command {title!r}; a table is named as one of {known}")
        if hasattr(command, "commands"):
            settings[key] = _read_group(value, command, name, f"{title}.")
        else:
            settings[key] = _read_options(value, command, name, title)
    return settings


def _read_options(found: Mapping[str, Any], command: Any, name: str, title: str) -> dict[str, Any]:
    from detector.errors import DetectorError

    names = {option.lstrip("-"): thing for thing in command.params for option in thing.opts if option.startswith("--")}
    settings: dict[str, Any] = {}
    for key, value in found.items():
        thing = names.get(key.replace("_", "-"))
        if thing is None:
            raise DetectorError(f"{name}: {title} has no option {key!r}; it has {', '.join(sorted(names))}")
        if isinstance(value, dict) or thing.is_flag is not isinstance(value, bool):
            kind = "true or false" if thing.is_flag else "text, a number or a list"
            raise DetectorError(f"{name}: {key} of {title} is {kind}")
        settings[thing.name] = value
    return settings
