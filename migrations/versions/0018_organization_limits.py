"""Organizations with a limit of their own for requests in progress.

What the columns mean: gateway/storage/tables/accounts.py.
"""

from alembic import op
from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, MetaData, Table

from migrations.types import NAMES, Id, Instant, required

revision = "0018_organization_limits"
down_revision = "0017_invited_roles"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
Table("organizations", _schema, Column("id", Id, primary_key=True))
_LIMITS = Table(
    "organization_limits",
    _schema,
    Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
    Column("in_flight_max", Integer, nullable=False),
    *required(Instant, "changed_at"),
    CheckConstraint("in_flight_max > 0", name="in_flight_max"),
    sqlite_strict=True,
)


def upgrade() -> None:
    _LIMITS.create(op.get_bind())


def downgrade() -> None:
    _LIMITS.drop(op.get_bind())
