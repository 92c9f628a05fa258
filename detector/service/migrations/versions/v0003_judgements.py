"""Pictures are judged first and examined on request, with a custody log; jobs have numbers, and pictures are due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """Add `jobs.number`, `jobs.full` (true for earlier jobs), `pictures.due`, `reports.judgement` and `custody`."""
    op.add_column("jobs", sa.Column("number", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index(op.f("ix_jobs_number"), "jobs", ["number"])
    op.add_column("jobs", sa.Column("full", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("pictures", sa.Column("due", sa.Double, nullable=False, server_default="0"))
    op.add_column("reports", sa.Column("judgement", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "custody",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
    )
