"""The detectors: one file each, named as its file."""

from __future__ import annotations

from typing import Any

from detector.registry import Registry

DETECTORS: Registry[Any] = Registry("detector", "detector.detectors")
