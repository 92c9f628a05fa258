"""The generators: one file each, named as its file."""

from __future__ import annotations

from typing import Any

from detector.registry import Registry

GENERATORS: Registry[Any] = Registry("generator", "detector.generators")
