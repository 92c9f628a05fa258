"""Name -> thing: a decorator beside the definition, and one place that finds what carries it.

A registry looks after one package (a file a thing: the file `crude.py` defines the generator `crude`) or one
module (a function a thing). Names of a package are its file names, so listing them imports nothing, and getting
one imports that file alone: `detector list` does not load torch. Files that start with `_` are not things.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from detector.errors import DetectorError, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """The things of one kind.

    kind: what to call one in a message ("generator").
    home: the package or module, by its dotted name, whose definitions carry `@REGISTRY.register(...)`.
    """

    def __init__(self, kind: str, home: str) -> None:
        self.kind = kind
        self.home = home
        self._things: dict[str, T] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Return a decorator that files a thing under `name`, with facts about it (a metric's direction, say).

        Raises ValueError if the name is taken by something else.
        """

        def file(thing: T) -> T:
            taken = self._things.setdefault(name, thing)
            if taken is not thing and getattr(taken, "__qualname__", 0) != getattr(thing, "__qualname__", 1):
                raise ValueError(f"two {self.kind}s are named {name!r}")
            self._things[name], self._facts[name] = thing, facts
            return thing

        return file

    def get(self, name: str) -> T:
        """Return the thing of that name; UnknownName lists the others."""
        if name not in self._things:
            files = self._files()
            if files is not None and name in files:
                importlib.import_module(f"{self.home}.{name}")
            elif files is None:
                importlib.import_module(self.home)
        if name not in self._things:
            raise UnknownName(self.kind, name, self.names())
        return self._things[name]

    def facts(self, name: str) -> dict[str, Any]:
        """Return what was said of the thing beside its name."""
        self.get(name)
        return self._facts[name]

    def names(self) -> list[str]:
        """Return every name, sorted; imports nothing that is not already there for a package of files."""
        files = self._files()
        if files is None:
            importlib.import_module(self.home)
            return sorted(self._things)
        return sorted(files | set(self._things))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _files(self) -> set[str] | None:
        """Return the public file names of the home package; None if home is a module of functions."""
        here = Path(__file__).parent.joinpath(*self.home.split(".")[1:])
        if not here.is_dir():
            return None
        return {m.name for m in pkgutil.iter_modules([str(here)]) if not m.name.startswith("_")}


def check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise DetectorError that names the first option which a function of a thing does not take."""
    for option in options:
        if option not in inspect.signature(function).parameters:
            raise DetectorError(f"{name} takes no {option}; leave out --{option}")
