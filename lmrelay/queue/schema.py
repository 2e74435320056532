"""
The tables. One schema for SQLite and PostgreSQL.

Times are floats: seconds since the epoch. A recipient may be taken when C{due} is set and
has come; C{due} is null while it is owned, held or final, so the indexes hold only work.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    literal_column,
)

QUEUED, DEFERRED, HELD = "queued", "deferred", "held"
DELIVERED, FAILED, DELETED, SUPPRESSED = "delivered", "failed", "deleted", "suppressed"
OPEN = (QUEUED, DEFERRED, HELD)
WAITING = (QUEUED, DEFERRED)

CHUNK = 256 * 1024
"""
Octets of a body in one row, at most.
"""

_BIG = BigInteger().with_variant(Integer, "sqlite")
"""
More events than 32 bits can count; SQLite's integers have 64 under any name, but only that one counts by itself.
"""

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s"}
)

message = Table(
    "message",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("project", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reverse_path", Text),
    Column("declared_eight_bit", Boolean, nullable=False),
    Column("declared_size", Integer),
    Column("smtputf8", Boolean, nullable=False),
    Column("ret", Text),
    Column("envid", Text),
    Column("tls", Text),
    Column("eight_bit", Boolean, nullable=False),
    Column("utf8_head", Boolean, nullable=False),
    Column("notification", Boolean, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("subject", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("to", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("body", String(26), nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("unsubscribe", Text),
    Column("redact", Boolean, nullable=False, server_default=false()),
    Column("body_hash", LargeBinary),
    Column("return_path", Text),
    Column("require_tls", Boolean, nullable=False, server_default=false()),
    Column("tls_optional", Boolean, nullable=False, server_default=false()),
    Column("sandbox", Boolean, nullable=False, server_default=false()),
)
Index("ix_message_received_at", message.c.received_at)

chunk = Table(
    "chunk",
    metadata,
    Column("body", String(26), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("octets", LargeBinary, nullable=False),
)

upload = Table(
    "upload",
    metadata,
    Column("body", String(26), primary_key=True),
    Column("worker", String(26), nullable=False),
)

recipient = Table(
    "recipient",
    metadata,
    Column("message", String(26), ForeignKey("message.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("notify", Text),
    Column("orcpt_type", Text),
    Column("orcpt", Text),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt", Double),
    Column("due", Double),
    Column("owner", String(26)),
    Column("last", Text, nullable=False),
    Column("delay_told", Boolean, nullable=False),
    Column("held_at", Double),
    Column("extended", Double, nullable=False),
    Column("ended_at", Double),
)
is_open = recipient.c.state.in_([literal_column(f"'{state}'") for state in OPEN])
"""
Not final. Written with literals, as in the index: only so does SQLite see that the index will do.
"""

_due = recipient.c.due.is_not(None)
_owned = recipient.c.owner.is_not(None)
_lane = (recipient.c.project, recipient.c.kind, recipient.c.domain, recipient.c.due)
Index("ix_recipient_lane", *_lane, sqlite_where=_due, postgresql_where=_due)
Index("ix_recipient_due", recipient.c.due, sqlite_where=_due, postgresql_where=_due)
Index("ix_recipient_owner", recipient.c.owner, sqlite_where=_owned, postgresql_where=_owned)
Index("ix_recipient_open", recipient.c.message, recipient.c.number, sqlite_where=is_open, postgresql_where=is_open)

attempt = Table(
    "attempt",
    metadata,
    Column("message", String(26), ForeignKey("message.id"), primary_key=True),
    Column("recipient", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Text),
    Column("text", Text, nullable=False),
    Column("fault", Text),
    Column("reply", Text),
    Column("host", Text),
    Column("address", Text),
    Column("tls", Text),
    Column("tls_failure", Text, nullable=False),
    Column("offered", Boolean),
    Column("source", Text),
    Column("trace", Text),
)

event = Table(
    "event",
    metadata,
    Column("sequence", _BIG, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False),
    Column("type", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("project", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("message", String(26)),
    Column("recipient", Integer),
    Column("document", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_event_message", event.c.message)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("event", _BIG, ForeignKey("event.sequence"), primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due", Double),
    Column("owner", String(26)),
    Column("last", Text, nullable=False),
    Column("project", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("ended_at", Double),
    Column("begun_at", Double, nullable=False, server_default="0"),
    Column("earlier", Integer, nullable=False, server_default="0"),
)
_told_at = webhook_delivery.c.due.is_not(None)
_being_told = webhook_delivery.c.owner.is_not(None)
Index(
    "ix_webhook_delivery_project",
    webhook_delivery.c.project,
    webhook_delivery.c.endpoint,
    webhook_delivery.c.due,
    sqlite_where=_told_at,
    postgresql_where=_told_at,
)
Index(
    "ix_webhook_delivery_owner",
    webhook_delivery.c.owner,
    sqlite_where=_being_told,
    postgresql_where=_being_told,
)
"""
What endpoints are to be told: C{endpoint} is the name of one of the project's. C{state} is waiting, delivered or dead;
what waits has a time when it is C{due}, or an C{owner} who is telling it now. Since C{begun_at} it is tried; of its
attempts C{earlier} were made before that.
"""

webhook_attempt = Table(
    "webhook_attempt",
    metadata,
    Column("event", _BIG, primary_key=True, autoincrement=False),
    Column("endpoint", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("status", Integer),
    Column("text", Text, nullable=False),
    Column("body", Text, nullable=False),
)
"""
How it went: the HTTP status, or in C{text} why there was none; C{body} is the beginning of the answer's.
"""

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("project", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("disabled_at", Double),
    Column("reason", Text, nullable=False),
)
"""
Endpoints that are told nothing since they said that they are gone, or somebody switched them off.
"""

suppression = Table(
    "suppression",
    metadata,
    Column("project", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("added_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("message", String(26)),
    Column("text", Text, nullable=False, server_default=""),
    Column("redact", Boolean, nullable=False, server_default=false()),
)
Index("ix_suppression_expires_at", suppression.c.expires_at)
"""
Addresses (in the form that all spellings have in common) that a project's mail is not sent to; C{route} is empty where
that holds for all of its routes. C{message}: whose failure it came from, and in C{text} the receiver's words.
C{redact}: the address may not stand in logs and events.
"""

suppression_news = Table(
    "suppression_news",
    metadata,
    Column("number", _BIG, primary_key=True, autoincrement=True),
    Column("worker", String(26), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("project", "route", "address")),
)
Index("ix_suppression_news_worker", suppression_news.c.worker, suppression_news.c.number)
"""
What a worker has yet to look at. Each has its own: in PostgreSQL numbers do not appear in order, so none can count.
"""

idempotency = Table(
    "idempotency",
    metadata,
    Column("project", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("message", String(26), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("expires_at", Double, nullable=False),
)
Index("ix_idempotency_expires_at", idempotency.c.expires_at)

usage = Table(
    "usage",
    metadata,
    Column("project", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("number", _BIG, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
)
Index("ix_usage_at", usage.c.at)
"""
Messages that count for a limit, numbered in their order without a gap. C{route} is empty for the project as a whole.
"""

token_use = Table(
    "token_use",
    metadata,
    Column("token", Text, primary_key=True),
    Column("used_at", Double, nullable=False),
)

site = Table(
    "site",
    metadata,
    Column("hosts", Text, primary_key=True),
    Column("connections", Integer),
    Column("lowered_at", Double),
    Column("lowered_for", Text, nullable=False),
    Column("suspended_at", Double),
    Column("reason", Text, nullable=False),
    Column("changed_at", Double, nullable=False),
)
Index("ix_site_changed_at", site.c.changed_at)
_suspended = site.c.suspended_at.is_not(None)
Index("ix_site_suspended_at", site.c.suspended_at, sqlite_where=_suspended, postgresql_where=_suspended)
"""
What is remembered of a site, by its hosts in one word: how many connections it bears where it asked for less, since
when and in which words; that an operator suspended it, and for what reason.
"""

site_domain = Table(
    "site_domain",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("hosts", Text, nullable=False),
    Column("seen_at", Double, nullable=False),
)
Index("ix_site_domain_hosts", site_domain.c.hosts)
Index("ix_site_domain_seen_at", site_domain.c.seen_at)
"""
At which site a recipient domain's mail was lately.
"""

sts_policy = Table(
    "sts_policy",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("mx", Text, nullable=False),
    Column("fetched_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)
Index("ix_sts_policy_expires_at", sts_policy.c.expires_at)

tls_count = Table(
    "tls_count",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("domain", Text, primary_key=True),
    Column("policy", Text, primary_key=True),
    Column("result", Text, primary_key=True),
    Column("sessions", Integer, nullable=False),
)
"""
Sessions of a day (UTC) by what RFC 8460 reports of them: policy and result are JSON, the result empty for success.
"""

bounce = Table(
    "bounce",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("message", String(26), nullable=False),
    Column("recipient", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),
)
Index("ix_bounce_message", bounce.c.message)
"""
What came back for a recipient by mail: a bounce, a delay, a complaint; C{by} is who said so.
"""

worker = Table(
    "worker",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("seen_at", Double, nullable=False),
)

command = Table(
    "command",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("verb", Text, nullable=False),
    Column("selector", Text, nullable=False),
    Column("ordered_at", Double, nullable=False),
    Column("worker", String(26)),
    Column("after_message", String(26)),
    Column("after_number", Integer),
    Column("changed", Integer, nullable=False),
    Column("in_flight", Integer, nullable=False),
    Column("late", Text, nullable=False),
    Column("done_at", Double),
)
_undone = command.c.done_at.is_(None)
Index("ix_command_id", command.c.id, sqlite_where=_undone, postgresql_where=_undone)
