"""A key knows who rotated it, and so who saw its secrets.

What the columns mean: gateway/storage/tables/accounts.py. Keys rotated before name nobody.
"""

from alembic import op
from sqlalchemy import TextClause, text

revision = "0030_rotators"
down_revision = "0029_schema_range"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_COLUMNS = ("rotated_by", "previous_rotated_by")


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        for name in _COLUMNS:
            op.execute(f"ALTER TABLE api_keys ADD COLUMN {name} text {_reference(name)}")
            op.create_index(f"ix_api_keys_{name}", "api_keys", [name], sqlite_where=_known(name))
        return
    for name in _COLUMNS:  # it may be there: the indexes are built outside of the transaction
        kind = f"uuid {_reference(name)}"
        op.execute(f"ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS {name} {kind}")
    with op.get_context().autocommit_block():
        for name in _COLUMNS:
            index = f"ix_api_keys_{name}"
            op.drop_index(index, "api_keys", postgresql_concurrently=True, if_exists=True)
            op.create_index(
                index,
                "api_keys",
                [name],
                postgresql_concurrently=True,
                postgresql_where=_known(name),
            )


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_index(f"ix_api_keys_{name}", "api_keys")
        op.execute(f"ALTER TABLE api_keys DROP COLUMN {name}")


def _reference(name: str) -> str:
    return f"CONSTRAINT fk_api_keys_{name} REFERENCES users (id)"


def _known(name: str) -> TextClause:
    return text(f"{name} IS NOT NULL")
