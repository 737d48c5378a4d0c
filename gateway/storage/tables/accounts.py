"""Organizations and their API keys; users, the organizations they belong to, and how they sign in.

Money is in billing, the table `accounts` included.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from gateway.storage.tables.types import STRICT, Id, Instant, metadata, partial_index

organizations = Table(
    "organizations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # defaults of new keys; each key keeps its own
    Column("truncate", Text),
    Column("token_ids_from", Text),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("truncate IN ('end', 'start')", name="truncate"),
    CheckConstraint("token_ids_from IN ('model')", name="token_ids_from"),
    # operators find an organization by how its name begins
    Index(None, "name", postgresql_ops={"name": "text_pattern_ops"}),
    **STRICT,
)

organization_limits = Table(
    "organization_limits",
    metadata,
    # those that an operator gave a number of their own
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    # most requests in progress in one process
    Column("in_flight_max", Integer, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("in_flight_max > 0", name="in_flight_max"),
    **STRICT,
)

mac_secrets = Table(
    "mac_secrets",
    metadata,
    Column("id", Id, primary_key=True),
    # 32 random bytes. They protect the database from floods of made-up keys, and prove nothing else
    Column("secret", LargeBinary, nullable=False),
    # until then processes learn of it, and no key is made under it
    Column("signs_from", Instant, nullable=False),
    **STRICT,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    Column("name", Text, nullable=False),
    # HMAC-SHA256 of the key under GATEWAY_SECRET: the key itself is stored nowhere
    Column("digest", LargeBinary, nullable=False, unique=True),
    # the fingerprint of that secret: see known_secrets; null: version 0.1 made it
    Column("digest_secret", Text),
    # of the secret before, which works until then; the key's id, budget and usage stay the same
    Column("previous_digest", LargeBinary),
    Column("previous_digest_secret", Text),
    Column("previous_until", Instant),
    Column("previous_mac_secret_id", Id, ForeignKey(mac_secrets.c.id)),
    # who saw that secret; null: as for rotated_by
    Column("previous_rotated_by", Id, ForeignKey("users.id")),
    Column("last_four", Text, nullable=False),
    # what it may do: names, separated by spaces
    Column("scopes", Text, nullable=False, server_default="embed read"),
    Column("token_ids_from", Text),
    Column("truncate", Text),
    Column("created_at", Instant, nullable=False),
    # null: made by an operator, or by a user who has deleted their account
    Column("created_by", Id, ForeignKey("users.id")),
    # who rotated it last, and saw its secret; null: nobody did, nobody known, or a deleted account
    Column("rotated_by", Id, ForeignKey("users.id")),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    # by the database's clock; processes watch it, to drop a changed key from their caches
    Column("changed_at", Instant, nullable=False),
    # what its MAC is under; null: made by version 0.1, or under a secret that is gone
    Column("mac_secret_id", Id, ForeignKey(mac_secrets.c.id)),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("token_ids_from IN ('model')", name="token_ids_from"),
    CheckConstraint("truncate IN ('end', 'start')", name="truncate"),
    Index(None, "organization_id"),
    Index(None, "changed_at"),
    Index(None, "created_by"),
    # operators find a key by what people see of it
    Index(None, "last_four"),
    partial_index(
        "ix_api_keys_previous_digest",
        "previous_digest",
        where="previous_digest IS NOT NULL",
        unique=True,
    ),
    partial_index("ix_api_keys_expires_at", "expires_at", where="expires_at IS NOT NULL"),
    partial_index("ix_api_keys_rotated_by", "rotated_by", where="rotated_by IS NOT NULL"),
    partial_index(
        "ix_api_keys_previous_rotated_by",
        "previous_rotated_by",
        where="previous_rotated_by IS NOT NULL",
    ),
    # whether there is any
    partial_index(
        "ix_api_keys_without_mac", "id", where="mac_secret_id IS NULL AND revoked_at IS NULL"
    ),
    **STRICT,
)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    # both become null when a user deletes their account; the row stays for its references
    Column("email", Text, unique=True),
    Column("address_key", Text),
    Column("created_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    # why the free credit was granted or not: see control_plane/billing/welcome.py
    Column("welcome", Text, nullable=False),
    CheckConstraint("length(email) <= 254", name="email"),
    CheckConstraint("(deleted_at IS NULL) = (email IS NOT NULL)", name="deleted"),
    Index(None, "address_key"),
    **STRICT,
)

memberships = Table(
    "memberships",
    metadata,
    Column("user_id", Id, ForeignKey(users.c.id), primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    Column("role", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint(
        "role IN ('owner', 'member', 'billing', 'developer', 'read_only')", name="role"
    ),
    Index(None, "organization_id"),
    **STRICT,
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey(users.c.id), nullable=False),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    # the organization that removed the user while this session acted for it; null once shown
    Column("removed_from", Id, ForeignKey(organizations.c.id)),
    # the number of cookies issued for it
    Column("generation", Integer, nullable=False),
    # the newest of them that the browser has sent: an older one that turns up was stolen
    Column("seen", Integer, nullable=False, server_default=text("1")),
    Column("created_at", Instant, nullable=False),
    Column("rotated_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    # when the user last proved a second factor in this session
    Column("verified_at", Instant),
    # where it was begun, for the user to recognize it: such as Firefox on Linux, and a network
    Column("browser", Text, nullable=False, server_default=text("''")),
    Column("network", Text, nullable=False, server_default=text("''")),
    Index(None, "user_id"),
    Index(None, "expires_at"),
    **STRICT,
)

mail_links = Table(
    "mail_links",
    metadata,
    Column("id", Id, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("email", Text, nullable=False),
    # one for all spellings of a mailbox, so that links are counted by mailbox
    Column("address_key", Text, nullable=False, server_default=""),
    # a model's id, an organization's id, or a path to go to, by purpose
    Column("subject", Text, nullable=False),
    # the role that an invitation gives
    Column("role", Text, nullable=False, server_default=""),
    # who invited, by their user's id; invitations before 0.2 name nobody
    Column("maker", Text, nullable=False, server_default=""),
    # of an address without an account, unless anyone has a mailbox there: whose links are counted
    Column("domain", Text, nullable=False, server_default=""),
    # id of the form that asked for it, which alone takes its code, and how many were typed there
    Column("form", Text, nullable=False, server_default=""),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    CheckConstraint("purpose IN ('sign_in', 'waitlist', 'invitation')", name="purpose"),
    Index(None, "address_key", "created_at"),
    Index(None, "domain", "created_at"),
    Index(None, "email"),
    Index(None, "subject"),
    Index(None, "expires_at"),
    **STRICT,
)

identities = Table(
    "identities",
    metadata,
    Column("provider", Text, primary_key=True),
    # of the account's id at the provider: see control_plane/accounts/identities.py
    Column("digest", LargeBinary, primary_key=True),
    # null once the account here is deleted; the row remembers that there was one
    Column("user_id", Id, ForeignKey(users.c.id)),
    Column("connected_at", Instant, nullable=False),
    CheckConstraint("provider IN ('github')", name="provider"),
    Index(None, "user_id"),
    **STRICT,
)
