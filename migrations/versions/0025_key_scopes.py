"""What a key may do, and the secret that it had before.

What the columns mean: gateway/storage/tables/accounts.py.
"""

from alembic import op
from sqlalchemy import Column, LargeBinary, Text, text

from migrations.types import Instant

revision = "0025_key_scopes"
down_revision = "0024_opening_sums"
branch_labels = None
depends_on = None

_PREVIOUS = "ix_api_keys_previous_digest"
_IS_SET = text("previous_digest IS NOT NULL")


def upgrade() -> None:
    op.add_column("api_keys", Column("previous_digest", LargeBinary))
    op.add_column("api_keys", Column("previous_until", Instant))
    kind = "uuid" if op.get_bind().dialect.name == "postgresql" else "text"
    op.execute(  # in one statement, since SQLite adds no constraint to a column that exists
        f"ALTER TABLE api_keys ADD COLUMN previous_mac_secret_id {kind} "
        "CONSTRAINT fk_api_keys_previous_mac_secret_id REFERENCES mac_secrets (id)"
    )
    op.add_column("api_keys", Column("scopes", Text, nullable=False, server_default="embed read"))
    op.create_index(
        _PREVIOUS,
        "api_keys",
        ["previous_digest"],
        unique=True,
        postgresql_where=_IS_SET,
        sqlite_where=_IS_SET,
    )


def downgrade() -> None:
    op.drop_index(_PREVIOUS, "api_keys")
    for name in ("scopes", "previous_mac_secret_id", "previous_until", "previous_digest"):
        op.drop_column("api_keys", name)
