"""
Idempotency keys, counted messages, the last use of tokens; and what a route adds to a message or keeps out of logs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """
    Add them.
    """
    op.add_column("message", sa.Column("unsubscribe", sa.Text(), nullable=True))
    op.add_column("message", sa.Column("redact", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "idempotency",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("message", sa.String(length=26), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("project", "key"),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"])
    op.create_table(
        "usage",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("number", _BIG, autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("project", "route", "number"),
    )
    op.create_index("ix_usage_at", "usage", ["at"])
    op.create_table(
        "token_use",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )
