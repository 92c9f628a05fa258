"""The first tables. A change of `tables.py` is a new file beside this one, never a change of this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "keys",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("created", sa.String(40), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False, index=True),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.UniqueConstraint("owner", "idempotency_key"),
    )
    op.create_table(
        "pictures",
        sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("slug", sa.String(40), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Index("by_state", "state"),
        sa.Index("by_sha256", "sha256"),
    )
    _create_results()


def _create_results() -> None:
    key = [sa.Column(name, sa.String(64), primary_key=True) for name in ("sha256", "settings")]
    op.create_table(
        "reports",
        *key,
        sa.Column("opinion", sa.String(32), nullable=False),
        sa.Column("urgency", sa.Integer, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("log10_lr", sa.Double),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("thumbnail", sa.LargeBinary, nullable=False),
    )
    key = [sa.Column(name, sa.String(64), primary_key=True) for name in ("sha256", "settings")]
    op.create_table(
        "drawings",
        *key,
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("caption", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["sha256", "settings"], ["reports.sha256", "reports.settings"]),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
        sa.Column("answer", sa.String(8), nullable=False),
        sa.Column("label", sa.String(8), nullable=False),
        sa.Column("opinion", sa.String(32), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
    )
