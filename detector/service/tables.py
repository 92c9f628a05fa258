"""The tables of the service's database. A change here needs a new file in `migrations/versions`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"  # states of a picture


class Base(DeclarativeBase):
    """All tables."""


class Key(Base):
    """An API key; the key itself is not kept. digest: SHA-256 of the key, which has 256 random bits."""

    __tablename__ = "keys"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[str] = mapped_column(String(40))


class Job(Base):
    """An accepted request.

    owner: name of the key, empty without keys. priority: jobs with a smaller one come first. number: those of one
    priority come in its order; 0 in a job from before there were numbers. full: whether its pictures are examined and
    not only judged.
    """

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("owner", "idempotency_key"),)
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64))  # SHA-256 of what was sent
    request_id: Mapped[str] = mapped_column(String(64))
    priority: Mapped[int]
    created: Mapped[str] = mapped_column(String(40))
    number: Mapped[int] = mapped_column(BigInteger, index=True, server_default="0")
    full: Mapped[bool] = mapped_column(server_default=true())


class Picture(Base):
    """One picture of a job.

    slug, detail: why it failed, as in a problem document; empty otherwise. due: when a waiting picture may be taken,
    seconds since 1970.
    """

    __tablename__ = "pictures"
    __table_args__ = (Index("by_state", "state"), Index("by_sha256", "sha256"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]  # bytes
    state: Mapped[str] = mapped_column(String(8))
    attempts: Mapped[int] = mapped_column(default=0)
    slug: Mapped[str] = mapped_column(String(40), default="")
    detail: Mapped[str] = mapped_column(Text, default="")
    due: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")


class Report(Base):
    """The verdict on some bytes, kept once for each setting (versions and weights).

    It is that of a judgement until the bytes are examined, which adds the sealed record and may change the verdict.
    """

    __tablename__ = "reports"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    settings: Mapped[str] = mapped_column(String(64), primary_key=True)
    opinion: Mapped[str] = mapped_column(String(32))
    urgency: Mapped[int]  # smaller comes first in the queue
    score: Mapped[float | None] = mapped_column(Double)
    log10_lr: Mapped[float | None] = mapped_column(Double)
    statement: Mapped[str] = mapped_column(Text)
    record: Mapped[str] = mapped_column(Text)  # canonical JSON; empty before an examination
    judgement: Mapped[str] = mapped_column(Text, server_default="")  # JSON: width, height, faces; empty without one
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary)  # JPEG of the deciding face
    phash: Mapped[str] = mapped_column(String(64), server_default="")  # `fingerprints.perceptual_hash` of the picture


class Basis(Base):
    """What the reports of some settings depend on besides pictures. digest: the settings, as in `Report`.

    number: larger for those with which a service started later.
    """

    __tablename__ = "bases"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(autoincrement=False)
    described: Mapped[str] = mapped_column(Text)  # JSON: versions, and the digest of the weights


class Drawing(Base):
    """A picture of a report: the exhibit with its faces, the face, maps."""

    __tablename__ = "drawings"
    __table_args__ = (ForeignKeyConstraint(["sha256", "settings"], ["reports.sha256", "reports.settings"]),)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    settings: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    caption: Mapped[str] = mapped_column(Text)
    width: Mapped[int]
    height: Mapped[int]
    jpeg: Mapped[bytes] = mapped_column(LargeBinary)


class Feedback(Base):
    """What somebody found out about a picture; the last answer of an owner counts."""

    __tablename__ = "feedback"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    owner: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    answer: Mapped[str] = mapped_column(String(8))  # confirm, overturn or unsure
    label: Mapped[str] = mapped_column(String(8))  # what that makes of the opinion: real, fake or unsure
    opinion: Mapped[str] = mapped_column(String(32))
    note: Mapped[str] = mapped_column(Text)
    created: Mapped[str] = mapped_column(String(40))


class Custody(Base):
    """An entry of the custody log; `custody.append_entry` writes it."""

    __tablename__ = "custody"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(String(64))
    entry: Mapped[str] = mapped_column(Text)  # JSON
