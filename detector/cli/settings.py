"""The options that may stand before or after any command: `--config`, `--json` and `--quiet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FLAGS = ("--json", "--quiet")
CONFIG = "--config"


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], set[str], Path | None]:
    """Return the arguments of a command without these options, the flags among them, and the file that --config names.

    Raises DetectorError if --config names no file, or occurs twice.

    >>> split_arguments(["score", "--json", "a.jpg", "--config=run.toml", "--", "--quiet"])
    (['score', 'a.jpg', '--', '--quiet'], {'--json'}, PosixPath('run.toml'))
    """
    from detector.errors import DetectorError

    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept: list[str] = []
    files: list[str] = []
    following = iter(arguments[:end])
    for argument in following:
        if argument == CONFIG:
            files.append(next(following, ""))
        elif argument.startswith(f"{CONFIG}="):
            files.append(argument.partition("=")[2])
        elif argument not in FLAGS:
            kept.append(argument)
    if len(files) > 1 or "" in files:
        raise DetectorError("--config names one TOML file")
    flags = set(arguments[:end]) & set(FLAGS)
    return [*kept, *arguments[end:]], flags, Path(files[0]) if files else None


def read_config(path: Path, command: Any) -> dict[str, Any]:
    """Return the options of commands that a TOML file sets, in the form of Click's `default_map`.

    command: the group of all commands. A table of the file has the name of a command and a key that of an option:
    `frames-out = "f.jsonl"` below `[score]`; the table of `train detector` is `[train.detector]`.

    Raises DetectorError if the file is not TOML, or names a command or an option that does not exist.
    """
    import tomllib

    from detector.errors import DetectorError

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DetectorError(f"{path.name} is not a TOML file: {error}") from None
    return _read_group(found, command, path.name, "")


def _read_group(found: Mapping[str, Any], group: Any, name: str, above: str) -> dict[str, Any]:
    from detector.errors import DetectorError

    settings: dict[str, Any] = {}
    for key, value in found.items():
        command, title = group.commands.get(key), f"{above}{key}"
        if command is None or not isinstance(value, dict):
            known = ", ".join(sorted(group.commands))
            raise DetectorError(f"{name}: there is no command {title!r}; the name of a table is one of {known}")
        if hasattr(command, "commands"):
            settings[key] = _read_group(value, command, name, f"{title}.")
        else:
            settings[key] = _read_options(value, command, name, title)
    return settings


def _read_options(found: Mapping[str, Any], command: Any, name: str, title: str) -> dict[str, Any]:
    from detector.errors import DetectorError

    options = {flag.lstrip("-"): option for option in command.params for flag in option.opts if flag.startswith("--")}
    settings: dict[str, Any] = {}
    for key, value in found.items():
        option = options.get(key.replace("_", "-"))
        if option is None:
            raise DetectorError(f"{name}: {title} has no option {key!r}; it has {', '.join(sorted(options))}")
        if isinstance(value, dict) or option.is_flag is not isinstance(value, bool):
            kind = "true or false" if option.is_flag else "text, a number or a list"
            raise DetectorError(f"{name}: {key} of {title} is {kind}")
        settings[option.name] = value
    return settings
