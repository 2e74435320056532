"""
Who is told of events and how that went, addresses that are suppressed, mail that never leaves, and what was said in an
attempt.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """
    Add them.
    """
    op.add_column("message", sa.Column("sandbox", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("attempt", sa.Column("trace", sa.Text(), nullable=True))
    op.add_column("suppression", sa.Column("message", sa.String(length=26), nullable=True))
    op.add_column("suppression", sa.Column("text", sa.Text(), server_default="", nullable=False))
    op.add_column("suppression", sa.Column("redact", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("ix_suppression_expires_at", "suppression", ["expires_at"])
    op.add_column("webhook_delivery", sa.Column("project", sa.Text(), server_default="", nullable=False))
    op.add_column("webhook_delivery", sa.Column("state", sa.Text(), server_default="waiting", nullable=False))
    op.add_column("webhook_delivery", sa.Column("ended_at", sa.Double(), nullable=True))
    op.add_column("webhook_delivery", sa.Column("begun_at", sa.Double(), server_default="0", nullable=False))
    op.add_column("webhook_delivery", sa.Column("earlier", sa.Integer(), server_default="0", nullable=False))
    due, owned = sa.text("due IS NOT NULL"), sa.text("owner IS NOT NULL")
    op.create_index(
        "ix_webhook_delivery_project",
        "webhook_delivery",
        ["project", "endpoint", "due"],
        sqlite_where=due,
        postgresql_where=due,
    )
    op.create_index(
        "ix_webhook_delivery_owner", "webhook_delivery", ["owner"], sqlite_where=owned, postgresql_where=owned
    )
    op.create_table(
        "webhook_attempt",
        sa.Column("event", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event", "endpoint", "number"),
    )
    op.create_table(
        "webhook_endpoint",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "endpoint"),
    )
