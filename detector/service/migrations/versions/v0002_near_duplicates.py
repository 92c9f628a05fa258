"""Perceptual hashes of examined pictures, to show near duplicates side by side; those before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"


def upgrade() -> None:
    """Add `reports.phash`."""
    op.add_column("reports", sa.Column("phash", sa.String(64), nullable=False, server_default=""))
