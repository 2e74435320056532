"""
What delivery learns and remembers: sites, published TLS policies, TLS reports, bounces that came in; and what a
message asks of the way it is sent.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """
    Add them.
    """
    op.add_column("message", sa.Column("body_hash", sa.LargeBinary(), nullable=True))
    op.add_column("message", sa.Column("return_path", sa.Text(), nullable=True))
    op.add_column("message", sa.Column("require_tls", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("message", sa.Column("tls_optional", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("attempt", sa.Column("source", sa.Text(), nullable=True))
    op.create_table(
        "site",
        sa.Column("hosts", sa.Text(), nullable=False),
        sa.Column("connections", sa.Integer(), nullable=True),
        sa.Column("lowered_at", sa.Double(), nullable=True),
        sa.Column("lowered_for", sa.Text(), nullable=False),
        sa.Column("suspended_at", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("hosts"),
    )
    op.create_index("ix_site_changed_at", "site", ["changed_at"])
    suspended = sa.text("suspended_at IS NOT NULL")
    op.create_index(
        "ix_site_suspended_at", "site", ["suspended_at"], sqlite_where=suspended, postgresql_where=suspended
    )
    op.create_table(
        "site_domain",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("hosts", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain"),
    )
    op.create_index("ix_site_domain_hosts", "site_domain", ["hosts"])
    op.create_index("ix_site_domain_seen_at", "site_domain", ["seen_at"])
    op.create_table(
        "sts_policy",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("mx", sa.Text(), nullable=False),
        sa.Column("fetched_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain"),
    )
    op.create_index("ix_sts_policy_expires_at", "sts_policy", ["expires_at"])
    op.create_table(
        "tls_count",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "domain", "policy", "result"),
    )
    op.create_table(
        "bounce",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("message", sa.String(length=26), nullable=False),
        sa.Column("recipient", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_bounce_message", "bounce", ["message"])
