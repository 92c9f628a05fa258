"""What can be set of the service: by option of `detector serve`, or by environment (DETECTOR_SERVE_PORT and so on)."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MB = 2**20


class Settings(BaseSettings):
    """Where the service listens, where its state is kept, and its limits."""

    model_config = SettingsConfigDict(env_prefix="DETECTOR_SERVE_", extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    folder: Path = Path("service")  # pictures and the database
    database: str = ""  # SQLAlchemy URL; empty is SQLite in `folder`
    detector: Path | None = None  # folder of weights; None is the shipped detector
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)  # processes that examine

    max_bytes: int = Field(100 * MB, ge=1)  # of one picture
    max_body: int = Field(1024 * MB, ge=1)  # bytes of one request
    max_pixels: int = Field(220_000_000, ge=1)  # of one picture, as its header says
    max_pictures: int = Field(1000, ge=1)  # of one job
    max_waiting: int = Field(100_000, ge=1)  # pictures that wait; more are refused with 503
    rate: float = Field(600, gt=0)  # requests a minute for each key, and at most so many at once

    memory: int = Field(1536 * MB, ge=64 * MB)  # bytes that one examination may take beside the idle process
    seconds: int = Field(60, ge=1)  # of CPU time for one examination
    patience: float = Field(300, gt=0)  # seconds on the clock for one examination
    wait: float = Field(60, gt=0)  # seconds that POST /v1/images waits before it answers 202
    drain: float = Field(30, ge=0)  # seconds that running examinations get when the service is asked to end


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the service there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
