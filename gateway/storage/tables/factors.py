"""Second factors of users: authenticator apps and passkeys, and how an operator gets the first."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, Table, Text

from gateway.storage.tables.accounts import users
from gateway.storage.tables.types import STRICT, BigInt, Id, Instant, metadata

authenticators = Table(
    "authenticators",
    metadata,
    Column("user_id", Id, ForeignKey(users.c.id), primary_key=True),
    # the secret that the app shares with us, encrypted: see gateway/sealing.py
    Column("sealed", LargeBinary, nullable=False),
    # the newest step of 30 seconds whose code was accepted: no code works twice
    Column("last_step", BigInt, nullable=False),
    Column("created_at", Instant, nullable=False),
    **STRICT,
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey(users.c.id), nullable=False),
    Column("name", Text, nullable=False),
    # the credential's id and public key, as the device gave them
    Column("credential", LargeBinary, nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    # how often the device says that it signed; 0 where it does not count
    Column("signatures", BigInt, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    Index(None, "user_id"),
    **STRICT,
)

passkey_challenges = Table(
    "passkey_challenges",
    metadata,
    # what a device is to sign; deleted by the answer, so that none is accepted twice
    Column("challenge", LargeBinary, primary_key=True),
    Column("purpose", Text, nullable=False),
    # null: whoever signs in
    Column("user_id", Id, ForeignKey(users.c.id)),
    Column("expires_at", Instant, nullable=False),
    CheckConstraint("purpose IN ('add', 'prove', 'sign_in')", name="purpose"),
    Index(None, "expires_at"),
    Index(None, "user_id"),
    **STRICT,
)

enrollments = Table(
    "enrollments",
    metadata,
    # the operator who may set their first factor with it
    Column("user_id", Id, ForeignKey(users.c.id), primary_key=True),
    # SHA-256 of the token in the address
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("expires_at", Instant, nullable=False),
    **STRICT,
)
