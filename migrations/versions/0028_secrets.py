"""The deployment's secret may change: which one made what, and what outlives it.

What the columns mean: gateway/storage/tables/secrets.py and accounts.py.
"""

from alembic import op
from sqlalchemy import Column, LargeBinary, MetaData, Table, Text

from migrations.types import NAMES, Instant, required

revision = "0028_secrets"
down_revision = "0027_paid_prints"
branch_labels = None
depends_on = None

_metadata = MetaData(naming_convention=NAMES)
_known = Table(
    "known_secrets",
    _metadata,
    Column("fingerprint", Text, primary_key=True),
    *required(Instant, "seen_at"),
    Column("first_at", Instant),
    Column("retired_at", Instant),
    sqlite_strict=True,
)
_lasting = Table(
    "lasting_secrets",
    _metadata,
    Column("purpose", Text, primary_key=True),
    *required(LargeBinary, "sealed"),
    sqlite_strict=True,
)


def upgrade() -> None:
    _metadata.create_all(op.get_bind(), checkfirst=False)
    op.add_column("api_keys", Column("digest_secret", Text))
    op.add_column("api_keys", Column("previous_digest_secret", Text))


def downgrade() -> None:
    for name in ("previous_digest_secret", "digest_secret"):
        op.drop_column("api_keys", name)
    _metadata.drop_all(op.get_bind(), checkfirst=False)
