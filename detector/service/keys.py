"""API keys: made, revoked, recognised. Only the SHA-256 of a key is kept; a key has 256 random bits."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from detector.errors import DetectorError
from detector.evidence.custody import now
from detector.files import sha256
from detector.service.tables import Key

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def make_key(engine: Engine, name: str) -> str:
    """Return a new key of that name, which cannot be read again later; DetectorError if there is one of that name."""
    if not NAME.fullmatch(name):
        raise DetectorError(f"the name of a key has 1 to 64 letters, digits, dots, hyphens and _, unlike {name!r}")
    key = f"det_{secrets.token_urlsafe(32)}"
    try:
        with Session(engine) as session, session.begin():
            session.add(Key(name=name, digest=sha256(key.encode()), created=now()))
    except IntegrityError:
        raise DetectorError(f"there is a key named {name!r}; revoke it first, or choose another name") from None
    return key


def revoke_key(engine: Engine, name: str) -> None:
    """Forget a key, which opens nothing from then on; what was sent with it stays. DetectorError if there is none."""
    with Session(engine) as session, session.begin():
        if not session.execute(delete(Key).filter_by(name=name)).rowcount:  # type: ignore[attr-defined]
            raise DetectorError(f"there is no key named {name!r}")


def find_owner(engine: Engine, key: str) -> str | None:
    """Return the name of a key; None if it is none of ours."""
    with Session(engine) as session:
        return session.scalar(select(Key.name).filter_by(digest=sha256(key.encode(errors="replace"))))


def count_keys(engine: Engine) -> int:
    """Return how many keys there are."""
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(Key)) or 0


@dataclass
class Limiter:
    """At most `rate` requests a minute for each owner, in a token bucket that holds so many at most."""

    rate: float
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)  # owner -> tokens, and when that was

    def spend(self, owner: str, at: float | None = None) -> float:
        """Return 0 and take a token, or return the seconds until there is one. at: seconds, of a steady clock."""
        at = time.monotonic() if at is None else at
        tokens, before = self._buckets.get(owner, (self.rate, at))
        tokens = min(max(self.rate, 1.0), tokens + (at - before) * self.rate / 60)
        self._buckets[owner] = (tokens - 1 if tokens >= 1 else tokens, at)
        return 0.0 if tokens >= 1 else (1 - tokens) * 60 / self.rate
