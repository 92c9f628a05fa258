"""Registries: each finds objects of one kind by name, for example generators; a decorator registers an object.

A registry belongs to one package, whose files define one object each (`crude.py` defines the generator `crude`), or to
one module, whose functions are the objects. The names of a package are its file names, so that listing them imports
none of its files, and getting one imports that file alone. Files whose names begin with `_` define no object.

Other installed packages add objects through entry points of the group `detector.generators`, `detector.detectors` or
`detector.checks`: an entry point has the name of the object, and loading it runs the decorator.
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
    """The objects of one kind, by name.

    kind: the name of the kind in messages ("generator").
    home: the dotted name of the package or module whose definitions carry `@REGISTRY.register(...)`.
    """

    def __init__(self, kind: str, home: str) -> None:
        self.kind = kind
        self.home = home
        self._objects: dict[str, T] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._broken: set[str] = set()

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Return a decorator that registers an object under `name`, with facts about it (such as a metric's direction).

        Raises ValueError if another object has the name.
        """

        def add(new: T) -> T:
            old = self._objects.setdefault(name, new)
            if old is not new and getattr(old, "__qualname__", 0) != getattr(new, "__qualname__", 1):
                raise ValueError(f"two {self.kind}s are named {name!r}")
            self._objects[name], self._facts[name] = new, facts
            return new

        return add

    def get(self, name: str) -> T:
        """Return the object of this name.

        Raises UnknownName, which lists the known names, and DetectorError, which names the package of a plug-in that
        cannot be loaded.
        """
        plugins = self._plugins
        if name not in self._objects:
            files = self._files()
            if files is None:
                importlib.import_module(self.home)
            elif name in files:
                importlib.import_module(f"{self.home}.{name}")
            elif name in plugins:
                self._load(plugins[name])
        if name not in self._objects:
            raise UnknownName(self.kind, name, self.names())
        return self._objects[name]

    def facts(self, name: str) -> dict[str, Any]:
        """Return the facts that an object was registered with."""
        self.get(name)
        return self._facts[name]

    def names(self) -> list[str]:
        """Return every name, sorted. Of a package of files, only the plug-ins are imported.

        A plug-in that cannot be loaded is left out, and one warning names it.
        """
        files = self._files()
        if files is None:
            importlib.import_module(self.home)
            return sorted(self._objects)
        return sorted(files | set(self._objects) | {name for name in self._plugins if self._works(name)})

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
        """Return name -> entry point of the objects in other packages.

        Raises DetectorError, which names both packages, if two objects have the same name.
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
        """Import a plug-in; raise DetectorError with its name and package if it fails or does not register its name."""
        try:
            plugin.load()
            reason = "" if plugin.name in self._objects else "it registers nothing of that name"
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if reason:
            raise DetectorError(f"the {self.kind} {plugin.name!r} of {_owner(plugin)} cannot be loaded: {reason}")

    def _works(self, name: str) -> bool:
        if name not in self._objects and name not in self._broken:
            try:
                self._load(self._plugins[name])
            except DetectorError as error:
                self._broken.add(name)
                logging.getLogger(__name__).warning("detector: warning: %s", error)
        return name in self._objects


def _owner(plugin: EntryPoint) -> str:
    """Return the name of the package that defines an entry point."""
    return "an unnamed package" if plugin.dist is None else plugin.dist.name


def check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise DetectorError if the function, of the object `name`, does not take one of the options."""
    for option in options:
        if option not in inspect.signature(function).parameters:
            raise DetectorError(f"{name} takes no {option}; leave out --{option}")
