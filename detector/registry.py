"""Name -> thing: a decorator beside the definition, and one place that finds what carries it.

A registry looks after one package (a file a thing: the file `crude.py` defines the generator `crude`) or one
module (a function a thing). Names of a package are its file names, so listing them imports none of its files, and
getting one imports that file alone. Files that start with `_` are not things.

Other installed packages add things through entry points of the group `detector.generators`, `detector.detectors` or
`detector.checks`: an entry point has the name of the thing, and loading it runs the decorator.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
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
        self._broken: set[str] = set()

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
        """Return the thing of that name.

        Raises UnknownName, which lists the others, and DetectorError that names the package of a plug-in which cannot
        be loaded.
        """
        files, plugins = self._files(), self._plugins
        if name not in self._things:
            if files is None:
                importlib.import_module(self.home)
            elif name in files:
                importlib.import_module(f"{self.home}.{name}")
            elif name in plugins:
                self._load(plugins[name])
        if name not in self._things:
            raise UnknownName(self.kind, name, self.names())
        return self._things[name]

    def facts(self, name: str) -> dict[str, Any]:
        """Return what was said of the thing beside its name."""
        self.get(name)
        return self._facts[name]

    def names(self) -> list[str]:
        """Return every name, sorted; of a package of files only the plug-ins are imported.

        A plug-in that cannot be loaded is left out, and one warning names it.
        """
        files = self._files()
        if files is None:
            importlib.import_module(self.home)
            return sorted(self._things)
        return sorted(files | set(self._things) | {name for name in self._plugins if self._works(name)})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _files(self) -> set[str] | None:
        """Return the public file names of the home package; None if home is a module of functions."""
        here = Path(__file__).parent.joinpath(*self.home.split(".")[1:])
        if not here.is_dir():
            return None
        return {m.name for m in pkgutil.iter_modules([str(here)]) if not m.name.startswith("_")}

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        """Return name -> entry point of the things in other packages.

        Raises DetectorError that names both owners if two things have one name.
        """
        files = self._files()
        if files is None:
            return {}
        owners = dict.fromkeys(files, "detector")
        found = {}
        for point in entry_points(group=f"detector.{self.kind}s"):
            if point.name in owners:
                raise DetectorError(
                    f"two {self.kind}s are named {point.name!r}: one of {owners[point.name]}, one of {_owner(point)}; "
                    "uninstall one of these packages"
                )
            owners[point.name], found[point.name] = _owner(point), point
        return found

    def _load(self, plugin: EntryPoint) -> None:
        """Import a plug-in; DetectorError that names it and its package if it fails or does not register its name."""
        try:
            plugin.load()
            reason = "" if plugin.name in self._things else "it registers nothing of that name"
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if reason:
            raise DetectorError(f"the {self.kind} {plugin.name!r} of {_owner(plugin)} cannot be loaded: {reason}")

    def _works(self, name: str) -> bool:
        if name not in self._things and name not in self._broken:
            try:
                self._load(self._plugins[name])
            except DetectorError as error:
                self._broken.add(name)
                logging.getLogger(__name__).warning("detector: warning: %s", error)
        return name in self._things


def _owner(plugin: EntryPoint) -> str:
    """Return the name of the package that an entry point is of."""
    return "an unnamed package" if plugin.dist is None else plugin.dist.name


def check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise DetectorError that names the first option which a function of a thing does not take."""
    for option in options:
        if option not in inspect.signature(function).parameters:
            raise DetectorError(f"{name} takes no {option}; leave out --{option}")
