"""Tells synthetic and manipulated faces from photographs."""

__version__ = "0.1.0"
