"""Settings of the service: options of `detector serve`, or environment variables such as DETECTOR_SERVE_PORT."""

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
    folder: Path = Path("service")  # folder of the pictures and the database
    database: str = ""  # SQLAlchemy URL; empty means SQLite in `folder`
    detector: Path | None = None  # folder of weights; None means the shipped detector
    sign: Path | None = None  # Ed25519 key (PEM) that signs the entries of the custody log
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)  # processes that examine pictures

    max_bytes: int = Field(100 * MB, ge=1)  # largest picture, bytes
    max_body: int = Field(1024 * MB, ge=1)  # largest request, bytes
    max_pixels: int = Field(220_000_000, ge=1)  # largest picture, pixels in its header
    max_pictures: int = Field(1000, ge=1)  # largest number of pictures in one job
    max_waiting: int = Field(100_000, ge=1)  # largest number of waiting pictures; more are refused with 503
    rate: float = Field(600, gt=0)  # requests per minute for each key, and the largest burst

    memory: int = Field(1536 * MB, ge=64 * MB)  # bytes that one examination may use in addition to the idle process
    seconds: int = Field(60, ge=1)  # CPU seconds that one examination may use
    patience: float = Field(300, gt=0)  # seconds on the clock after which an examination is stopped
    wait: float = Field(60, gt=0)  # seconds after which POST /v1/images answers 202
    drain: float = Field(30, ge=0)  # seconds that running examinations have to finish when the service stops


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the service there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
