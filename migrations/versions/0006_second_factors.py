"""Second factors, where a session is used from, and more roles of members.

What the tables and columns mean: gateway/storage/tables/factors.py and accounts.py.
"""

from alembic import op
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

from migrations.types import NAMES, Count, Id, Instant, required

revision = "0006_second_factors"
down_revision = "0007_trail_guard"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []

_ROLES = "role IN ('owner', 'member', 'billing', 'developer', 'read_only')"
_ROLES_BEFORE = "role IN ('owner', 'member')"


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)
    for name in ("browser", "network"):
        op.add_column("sessions", Column(name, Text, nullable=False, server_default=text("''")))
    _allow(_ROLES)


def downgrade() -> None:
    op.execute("UPDATE memberships SET role = 'member' WHERE role <> 'owner'")
    _allow(_ROLES_BEFORE)
    for name in ("network", "browser"):
        op.drop_column("sessions", name)
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


def _allow(roles: str) -> None:
    """Change which roles a member may have. SQLite can't: there the table is made anew."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("role", "memberships", type_="check")
        op.create_check_constraint("role", "memberships", roles)
        return
    op.drop_index("ix_memberships_organization_id", "memberships")
    op.rename_table("memberships", "memberships_before")
    named = MetaData(naming_convention=NAMES)
    for known in ("organizations", "users"):
        Table(known, named, Column("id", Id, primary_key=True))
    made = Table(
        "memberships",
        named,
        Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
        Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
        *required(Text, "role"),
        *required(Instant, "created_at"),
        CheckConstraint(roles, name="role"),
        Index(None, "organization_id"),
        sqlite_strict=True,
    )
    made.create(op.get_bind())
    op.execute("INSERT INTO memberships SELECT * FROM memberships_before")
    op.drop_table("memberships_before")


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


# what the new tables name: made by an earlier revision
Table("users", _schema, Column("id", Id, primary_key=True))

table(
    "authenticators",
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
    *required(LargeBinary, "sealed"),
    *required(Count, "last_step"),
    *required(Instant, "created_at"),
)

table(
    "passkeys",
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    *required(Text, "name"),
    *required(LargeBinary, "credential", "public_key"),
    *required(Count, "signatures"),
    *required(Instant, "created_at"),
    Column("used_at", Instant),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    UniqueConstraint("credential"),
    Index(None, "user_id"),
)

table(
    "passkey_challenges",
    Column("challenge", LargeBinary, primary_key=True),
    *required(Text, "purpose"),
    Column("user_id", Id, ForeignKey("users.id")),
    *required(Instant, "expires_at"),
    CheckConstraint("purpose IN ('add', 'prove', 'sign_in')", name="purpose"),
    Index(None, "expires_at"),
    Index(None, "user_id"),
)

table(
    "enrollments",
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
    *required(LargeBinary, "digest"),
    *required(Instant, "expires_at"),
    UniqueConstraint("digest"),
)
