"""Versions and weights are named, so that a verdict of earlier ones can be shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Add `bases`."""
    op.create_table(
        "bases",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("described", sa.Text, nullable=False),
    )
