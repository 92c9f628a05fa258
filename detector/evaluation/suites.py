"""A suite declares in a TOML file what is measured, on which pictures and under which perturbations."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector.errors import DetectorError, UnknownName
from detector.pictures.perturbations import PERTURBATIONS
from detector.statistics.metrics import METRICS, name_operating_point

SHIPPED = Path(__file__).with_name("shipped")  # folder of suites that need no other data, each with its baseline
DEVELOPERS = Path(__file__).parents[2] / "benchmarks" / "suites"  # folder of suites of a checkout, which need data
Share = Annotated[float, Field(gt=0, lt=1)]


class SuiteError(DetectorError):
    """A suite's file cannot be read, or asks for something that does not exist."""


class Alike(BaseModel):
    """How pairs are re-encoded alike: JPEG quality, and the largest side in pixels if it is limited."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: Annotated[int, Field(ge=10, le=100)] = 90
    side: Annotated[int, Field(ge=16, le=2048)] | None = None


class Suite(BaseModel):
    """The content of a suite's file; paths in it are relative to the file.

    manifests: paths, or "embedded". side: if given, every picture is cut, resized to that many pixels and saved
    alike first. keep: column -> values; other pictures are left out. sample: of each dataset's photographs, and of each
    generator's fakes, at most so many, those of the least hashes. detectors: name -> folder of weights.
    pairs: matched pairs, [generator or dataset of fakes, dataset of photographs], in place of the manifest's column
    `kind`. alike: the pictures of every pair (`pairs.find_pairs`) are cut, saved at the pair's common side and one JPEG
    quality, and scored again; everything else is measured on the pictures as they are.
    operating_points: false-positive rates at which the true-positive rate is measured, beside `metrics`.
    tolerances: metric -> how much worse it may be before the gate closes, in its unit; other metrics do not gate.
    by: columns of the manifest by whose values the detectors are compared, as `fairness.measure_fairness`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    summary: str = ""
    manifests: Annotated[list[str], Field(min_length=1)]
    split: str = "test"
    side: Annotated[int, Field(ge=16, le=2048)] | None = None
    keep: dict[str, list[str]] = {}
    sample: Annotated[int, Field(ge=1)] | None = None
    pairs: list[tuple[str, str]] = []
    alike: Alike | None = None
    detectors: dict[str, str] = {}
    perturbations: list[str] = []
    severities: list[Annotated[int, Field(ge=1, le=5)]] = [3]
    metrics: Annotated[list[str], Field(min_length=1)] = ["auc"]
    operating_points: list[Share] = []
    tolerances: dict[str, Annotated[float, Field(ge=0)]] = {}
    by: list[str] = []
    seed: int = 0
    resamples: Annotated[int, Field(ge=100)] = 2000

    _folder: Path = Path()

    @property
    def measured(self) -> list[str]:
        """Return the names of every metric, operating points included."""
        points = [name_operating_point(rate) for rate in self.operating_points]
        return list(dict.fromkeys([*self.metrics, *points]))

    @property
    def conditions(self) -> list[tuple[str, int]]:
        """Return each perturbation with each severity, the untouched pictures first."""
        return [("none", 0), *product(self.perturbations, self.severities)]

    def resolve(self, path: str) -> Path:
        """Return a path of the suite's file, relative to the working folder."""
        return self._folder / path


def list_suites() -> dict[str, Path]:
    """Return name -> file of every suite that has a name."""
    return {path.stem: path for folder in (DEVELOPERS, SHIPPED) for path in sorted(folder.glob("*.toml"))}


def find_baseline(name: str | Path) -> Path:
    """Return the file of a baseline: the given path if it ends in .json, or that of the shipped suite of this name.

    Raises UnknownName if no such suite is shipped.
    """
    path = Path(name)
    if path.suffix == ".json":
        return path
    known = {path.stem: path for path in sorted(SHIPPED.glob("*.json"))}
    if str(name) not in known:
        raise UnknownName("baseline (a name, or a file that ends in .json)", str(name), known)
    return known[str(name)]


def read_suite(name: str | Path) -> Suite:
    """Return a suite by its name, or by the path of its TOML file.

    Raises UnknownName for a suite, a metric or a perturbation, SuiteError for anything else; an unknown key's message
    names the nearest valid one.
    """
    path = Path(name)
    if path.suffix != ".toml":
        known = list_suites()
        if str(name) not in known:
            raise UnknownName("suite", str(name), known)
        path = known[str(name)]
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise SuiteError(f"{path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path.name} is not TOML: {error}") from None
    except ValidationError as error:
        raise SuiteError(f"{path.name}: {_explain(error)}") from None
    suite._folder = path.parent
    for metric in (*suite.measured, *suite.tolerances):
        METRICS.get(metric)
    for perturbation in suite.perturbations:
        PERTURBATIONS.get(perturbation)
    if astray := set(suite.tolerances) - set(suite.measured):
        raise SuiteError(f"{path.name}: {min(astray)!r} has a tolerance but is not measured; add it to metrics")
    return suite


def _explain(error: ValidationError) -> str:
    """Return the first error in one line; for an unknown key, with the nearest valid key."""
    first: Any = error.errors()[0]
    *above, last = (str(part) for part in first["loc"])
    key = ".".join([*above, last])
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}"
    known: Sequence[str] = list((Alike if above == ["alike"] else Suite).model_fields)
    near = difflib.get_close_matches(last, known, n=1, cutoff=0)
    return f"there is no key {key!r}; did you mean {near[0]!r}?"
