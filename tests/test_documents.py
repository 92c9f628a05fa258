"""The documents: every command in them runs or is one that the command line takes, every link leads somewhere.

A block of commands (```sh) of the pages is run, all pages in the order of the site in one folder, as a reader would go
on. `<!-- not run: REASON -->` before a block says why it is only compared with the options that there are;
`<!-- status: 1 -->` says how its last command ends. A block with `title="NAME"` is a file that the commands use.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from accuracy_tables import print_likelihood_ratios, print_verdicts
from conftest import ROOT

import detector
from detector import cli
from detector.cli.settings import split_arguments
from detector.statistics.calibration import describe

DOCS = ROOT / "docs"
PAGES = [
    "tutorial",
    "styles",
    "analyst",
    "engineer",
    "researcher",
    "model-card",
    "evidence",
]  # those with commands that are run
UNRUN = {"accuracy.md": "needs pictures that are not distributed, and hours"}  # pages without comments on their blocks
BLOCK = re.compile(
    r'(?:<!-- (?P<mark>not run|status): (?P<what>[^>]+) -->\n)?^```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<text>.*?)^```$",
    re.M | re.S,
)
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


PROGRAMS = {"python", "python3", ".", "mkdir", "git", "tar", "cp", "find", "openssl", "curl", "docker", "tensorboard",
            "pre-commit"}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A block of a document: commands, or a file."""

    page: str
    kind: str
    text: str
    mark: str = ""
    what: str = ""
    title: str = ""

    @property
    def commands(self) -> list[str]:
        """Its commands, without prompts, outputs and comments, each on one line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.kind == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]

    @property
    def runs(self) -> bool:
        return self.kind == "sh" and self.mark != "not run" and self.page not in UNRUN


def read_blocks(path: Path) -> list[Block]:
    return [
        Block(path.name, **{key: value or "" for key, value in found.groupdict().items()})
        for found in BLOCK.finditer(path.read_text())
    ]


BLOCKS = [block for path in TEXTS for block in read_blocks(path)]
LINKED = [*TEXTS, ROOT / "ARCHITECTURE.md", ROOT / "benchmarks" / "README.md", ROOT / "data" / "README.md"]
LISTED = [(block.page, line) for block in BLOCKS if block.kind in ("sh", "console") for line in block.commands]


def test_commands_are_run_unless_a_reason_is_given() -> None:
    running = {block.page for block in BLOCKS if block.runs and block.page not in ("README.md", "CONTRIBUTING.md")}
    assert running == {f"{page}.md" for page in PAGES}
    assert sum(len(block.commands) for block in BLOCKS if block.runs) > 20
    assert all(len(block.what) > 8 for block in BLOCKS if block.mark == "not run")
    assert {name for name in UNRUN if not (DOCS / name).is_file()} == set()


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run one command and return its status; `detector` and `python -c` in this process, which is much faster."""
    before, pipe, last = line.rpartition(" | ")
    words = shlex.split(last, comments=True)
    given = subprocess.run(["bash", "-euc", before], capture_output=True, check=True).stdout if pipe else b""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    if words[:2] == ["python", "-c"]:
        exec(words[2], {})
        return 0
    if words[0] != "detector":
        return subprocess.run(words, capture_output=True, check=False).returncode
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main(words[1:])
    return ended.value.code or 0


def test_every_command_of_the_pages_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for page in PAGES:
        for block in (block for block in BLOCKS if block.page == f"{page}.md"):
            if block.title:
                Path(block.title).write_text(block.text)
            program = block.commands[0].split()[0] if block.runs else ""
            if program not in ("detector", "python") and not shutil.which(program):
                continue
            for line in block.commands:
                expected = int(block.what) if block.mark == "status" and line == block.commands[-1] else 0
                status = run(line, monkeypatch)
                assert status == expected, f"{block.page}: {line}\n{capsys.readouterr().err}"
    made = {path.name for path in tmp_path.iterdir()}
    assert {"fakes", "mixing.png", "evidence", "case", "scores.parquet", "parts", "compared", "measured"} <= made


def split_console(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console with the lines that it prints."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, *printed = part.splitlines()
        yield command, printed


def test_the_readme_shows_what_its_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of another processor may differ a little, and a hash of the log depends on the time."""
    monkeypatch.chdir(tmp_path)
    for module in (
        "detector.pictures.labelling",
        "detector.evidence.checks.provenance",
    ):  # `pip install .` has no extra
        monkeypatch.setattr(f"{module}.has_c2pa", lambda: False)
    number = re.compile(r"[+-]?\d+\.\d+")
    consoles = [block for block in read_blocks(ROOT / "README.md") if block.kind == "console"]
    for command, expected in (each for block in consoles for each in split_console(block)):
        assert run(command, monkeypatch) == 0
        printed = "".join(capsys.readouterr()).splitlines()
        assert len(printed) == len(expected), printed
        for shown, wanted in zip(printed, expected, strict=True):
            found, wanted = (re.sub(r"[0-9a-f]{64}", "HASH", line.partition("...")[0]) for line in (shown, wanted))
            assert number.sub("N", found)[: len(number.sub("N", wanted))] == number.sub("N", wanted)
            values = [[float(value) for value in number.findall(line)] for line in (found, wanted)]
            assert values[0][: len(values[1])] == pytest.approx(values[1], abs=0.03)


@pytest.mark.parametrize(("name", "column"), [("default", 1), ("strong", 2)])
def test_the_documents_have_the_figures_of_the_model_cards(
    name: str, column: int, capsys: pytest.CaptureFixture[str]
) -> None:
    card = json.loads((ROOT / "detector" / "weights" / name / "card.json").read_text())
    print_likelihood_ratios(pd.DataFrame(card["cllr_on_unseen_sources"]))
    print_verdicts(pd.DataFrame(card["verdicts_on_unseen"]))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    page, readme = ((ROOT / name).read_text() for name in ("docs/accuracy.md", "README.md"))
    assert len(rows) > 20
    assert [row for row in rows if row not in page] == []
    sources = card["false_alarms_by_source"]
    for s in sources:
        assert re.search(rf"^\| {s['source']} \| {s['n']} \|([^|]*\|){{{column}}} {s['share']:.1%} \[", page, re.M)
    n, alarms = (sum(source[key] for source in sources) for key in ("n", "alarms"))
    verb = "is" if alarms == 1 else "are"
    assert len(sources) == 14
    said = f"Of {n:,} photographs from fourteen sources {alarms} {verb} called `likely-fake`"
    assert (said if name == "default" else f"and {alarms} by `{name}`") in " ".join(readme.split())
    strongest = {describe(card["calibration"][bound]).partition(" for ")[0] for bound in ("low", "high")}
    assert all(f"*{words}* at most" in (DOCS / "evidence.md").read_text() for words in strongest)


def test_the_readme_quotes_the_means_of_pictures_that_nobody_had_looked_at() -> None:
    page, readme = ((ROOT / name).read_text() for name in ("docs/accuracy.md", "README.md"))
    sections = {"Photographs": "that no choice has seen", "Fakes": "that none has seen either"}
    for title, said in sections.items():
        section = page.partition(f"## {title} that nobody had looked at")[2]
        default, strong = next(line for line in section.splitlines() if line.startswith("| mean |")).split(" | ")[4:6]
        assert f"{said} it is {default} and {strong}." in " ".join(readme.split())


def parse(words: list[str]) -> None:
    """Let the command line take these words apart, without running the command; any error is that of the user."""
    kept, _, config = split_arguments(words)
    command: Any = typer.main.get_command(cli.app)
    context = command.make_context("detector", list(kept), resilient_parsing=True)
    while hasattr(command, "commands"):
        _, command, kept = command.resolve_command(context, kept)
    if config is None:  # else the file may have what is required
        command.make_context(command.name, list(kept), parent=context)


def find_options(words: list[str]) -> Iterator[str]:
    yield from (word.split("=")[0] for word in words if re.match(r"--?[a-z]", word))


@pytest.mark.parametrize(("page", "line"), LISTED, ids=lambda text: text.replace("/", "_")[:60])
def test_a_command_is_one_that_exists(page: str, line: str) -> None:
    for part in re.split(r" \| | && ", line):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            del words[0]
        words = words[words.index("detector") :] if words[0] == "torchrun" else words
        program = words[0].rpartition("/")[2]
        if program == "detector":
            parse(words[1:])
        elif program == "python" and words[1].endswith(".py"):
            script = (ROOT / words[1]).read_text()
            assert [option for option in find_options(words[2:]) if f'"{option}"' not in script] == []
        elif program == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
        elif program == "pip" and "install" in words:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            named = [name for found in re.findall(r"\[([a-z,]+)\]", part) for name in found.split(",")]
            assert [name for name in named if name not in extras] == []
        else:
            assert program in PROGRAMS, f"{page}: what is {program}?"


def slug(title: str) -> str:
    """The anchor of a heading, as MkDocs and GitHub make it."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", title).replace("`", "")
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in {slug(title) for title in re.findall(r"^#+ (.+)$", file.read_text(), re.M)}, target


def test_every_page_is_in_the_navigation_and_every_public_name_in_the_reference() -> None:
    config = (ROOT / "mkdocs.yml").read_text()
    assert {path.name for path in DOCS.glob("*.md")} == set(re.findall(r"([\w-]+\.md)$", config, re.M))
    assert set(re.findall(r"^::: detector\.(\w+)$", (DOCS / "reference.md").read_text(), re.M)) == set(detector.__all__)


def test_the_site_builds_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the dependency group docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the dependency group docs is not installed")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
                          cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    loaded = re.compile(r'<(?:script|img|iframe|link)[^>]*(?:src|href)="(?:https?:)?//[^"]*"|url\([\'"]?(?:https?:)?//')
    pages = [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]
    assert [(page.name, found) for page in pages for found in loaded.findall(page.read_text())] == []
    assert "detector train generator" in (tmp_path / "commands.html").read_text()
    card = (tmp_path / "model-card.html").read_text()
    assert "likely-fake above" in card
    assert "&lt;!--" not in card
