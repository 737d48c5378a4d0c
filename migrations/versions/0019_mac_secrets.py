"""Secrets of MACs, which tell keys of ours from made-up ones without a query.

What the columns mean: gateway/storage/tables/accounts.py. Keys that exist have no such MAC.
"""

import secrets
import uuid
from datetime import UTC, datetime

from alembic import op
from sqlalchemy import Column, LargeBinary, MetaData, Table, text

from migrations.types import NAMES, Id, Instant, required

revision = "0019_mac_secrets"
down_revision = "0018_organization_limits"
branch_labels = None
depends_on = None

_SECRET_BYTES = 32
_WITHOUT = text("mac_secret_id IS NULL AND revoked_at IS NULL")
_mac_secrets = Table(
    "mac_secrets",
    MetaData(naming_convention=NAMES),
    Column("id", Id, primary_key=True),
    *required(LargeBinary, "secret"),
    *required(Instant, "signs_from"),
    sqlite_strict=True,
)


def upgrade() -> None:
    connection = op.get_bind()
    is_postgresql = connection.dialect.name == "postgresql"
    _mac_secrets.create(connection)
    now = datetime.now(UTC)
    connection.execute(
        _mac_secrets.insert().values(
            id=str(uuid.uuid4()),
            secret=secrets.token_bytes(_SECRET_BYTES),
            signs_from=now if is_postgresql else now.isoformat(timespec="microseconds"),
        )
    )
    op.execute(  # in one statement, since SQLite adds no constraint to a column that exists
        f"ALTER TABLE api_keys ADD COLUMN mac_secret_id {'uuid' if is_postgresql else 'text'} "
        "CONSTRAINT fk_api_keys_mac_secret_id REFERENCES mac_secrets (id)"
    )
    op.create_index(
        "ix_api_keys_without_mac",
        "api_keys",
        ["id"],
        postgresql_where=_WITHOUT,
        sqlite_where=_WITHOUT,
    )


def downgrade() -> None:
    op.drop_index("ix_api_keys_without_mac", "api_keys")
    op.execute("ALTER TABLE api_keys DROP COLUMN mac_secret_id")
    _mac_secrets.drop(op.get_bind())
