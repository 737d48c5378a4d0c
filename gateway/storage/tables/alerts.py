"""Notices to organizations, the mails and webhooks that carry them, and what has been crossed.

A notice is one thing that happened to an organization, once for each `ref`. It has a delivery for
each endpoint that was subscribed to its type when it happened, and mails to the owners, which a job
writes. A delivery is pending until the endpoint takes it or the time for retries is over; its row
is also the log of its last attempt.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.storage.tables.accounts import organizations, users
from gateway.storage.tables.billing import accounts
from gateway.storage.tables.types import (
    STRICT,
    Id,
    Instant,
    metadata,
    nanos,
    partial_index,
)

_Flag = Boolean().with_variant(Integer(), "sqlite")

notices = Table(
    "notices",
    metadata,
    # the webhook-id of all of its deliveries
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    Column("type", Text, nullable=False),
    # what happened: it is told only once
    Column("ref", Text, nullable=False),
    # a JSON object, as webhooks carry it
    Column("data", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # null once its mails are written, or if it has none
    Column("mail_due_at", Instant),
    # when its mails were written; null if it has none
    Column("mailed_at", Instant),
    UniqueConstraint("organization_id", "ref"),
    Index(None, "created_at"),
    Index(None, "organization_id", "mailed_at"),
    partial_index("ix_notices_mail_due_at", "mail_due_at", where="mail_due_at IS NOT NULL"),
    **STRICT,
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    Column("url", Text, nullable=False),
    # encrypted: see control_plane/alerts/signatures.py
    Column("secret", LargeBinary, nullable=False),
    # the secret before the last rotation, which signs too until its time is over
    Column("secret_before", LargeBinary),
    Column("secret_before_until", Instant),
    Column("created_by", Id, ForeignKey(users.c.id)),
    Column("created_at", Instant, nullable=False),
    # nothing is sent while it is disabled: by a person, after days of failures, by a 410, or when
    # its secret can't be read any more
    Column("disabled_at", Instant),
    Column("disabled_reason", Text, nullable=False),
    # the first failure since it last took a delivery
    Column("failing_since", Instant),
    # a process sends its deliveries until then; null when none does
    Column("claimed_until", Instant),
    # when it last had its turn: those that waited longest go first
    Column("served_at", Instant, nullable=False),
    # the row stays while deliveries name it
    Column("removed_at", Instant),
    CheckConstraint("length(url) BETWEEN 1 AND 2000", name="url"),
    CheckConstraint(
        "disabled_reason IN ('', 'person', 'failing', 'gone', 'unreadable')", name="disabled"
    ),
    Index(None, "organization_id"),
    Index(None, "created_by"),
    partial_index(
        "ix_webhook_endpoints_failing_since", "failing_since", where="failing_since IS NOT NULL"
    ),
    **STRICT,
)

webhook_subscriptions = Table(
    "webhook_subscriptions",
    metadata,
    Column("endpoint_id", Id, ForeignKey(webhook_endpoints.c.id), primary_key=True),
    Column("type", Text, primary_key=True),
    Index(None, "type"),
    **STRICT,
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("endpoint_id", Id, ForeignKey(webhook_endpoints.c.id), nullable=False),
    Column("notice_id", Id, ForeignKey(notices.c.id), nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    # when to stop trying
    Column("give_up_at", Instant, nullable=False),
    # how often it was sent since it was queued, or queued again by a replay
    Column("attempts", Integer, nullable=False),
    # of the last attempt: when, the answer's status, how long it took, its first bytes, and what
    # went wrong, in words
    Column("attempted_at", Instant),
    Column("status", Integer),
    Column("milliseconds", Integer),
    Column("answer", Text, nullable=False),
    Column("error", Text, nullable=False),
    CheckConstraint("state IN ('pending', 'sent', 'failed')", name="state"),
    UniqueConstraint("endpoint_id", "notice_id"),
    Index(None, "endpoint_id", "id"),
    Index(None, "notice_id"),
    Index(None, "created_at"),
    partial_index("ix_webhook_deliveries_pending", "endpoint_id", where="state = 'pending'"),
    **STRICT,
)

alert_preferences = Table(
    "alert_preferences",
    metadata,
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    # below this balance it is told; null: below a week of use at the present rate
    *nanos("low_nanos", nullable=True),
    # types of which the owners want no mail, separated by spaces
    Column("mails_off", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index(None, "changed_at"),
    **STRICT,
)

alert_levels = Table(
    "alert_levels",
    metadata,
    # of an organization, or of a key's budget in one period
    Column("account_id", Id, ForeignKey(accounts.c.id), primary_key=True),
    # what was crossed and told: of a budget the percentage, of an organization 1 (low) or 2 (empty)
    Column("level", Integer, nullable=False),
    # crossings told so far, so that each has a reference of its own
    Column("told", Integer, nullable=False),
    # it was in use when last looked at, so it is looked at once more
    Column("watched", _Flag, nullable=False),
    CheckConstraint("level BETWEEN 0 AND 100", name="level"),
    partial_index("ix_alert_levels_watched", "account_id", where="watched"),
    **STRICT,
)

alert_walks = Table(
    "alert_walks",
    metadata,
    # a walk that one process at a time continues
    Column("name", Text, primary_key=True),
    # who is next: the last id of the walk that is done
    Column("after", Text, nullable=False),
    # when the walk began, and until when everything is known from the walks before
    Column("began_at", Instant, nullable=False),
    Column("read_until", Instant, nullable=False),
    # when the next process may continue; null once it is over for good
    Column("due_at", Instant),
    **STRICT,
)
