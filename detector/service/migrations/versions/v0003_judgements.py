"""Pictures are judged first and examined on request; jobs have numbers, and a picture may wait until it is due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """Add `jobs.number`, `jobs.full`, `pictures.due` and `reports.judgement`; all earlier jobs were examinations."""
    op.add_column("jobs", sa.Column("number", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index(op.f("ix_jobs_number"), "jobs", ["number"])
    op.add_column("jobs", sa.Column("full", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("pictures", sa.Column("due", sa.Double, nullable=False, server_default="0"))
    op.add_column("reports", sa.Column("judgement", sa.Text, nullable=False, server_default=""))
