"""The roots of receipts, one a tick, and the keys that signed them.

What the tables and columns mean: gateway/storage/tables/billing.py.
"""

from alembic import op
from sqlalchemy import CheckConstraint, Column, Integer, LargeBinary, MetaData, Table, Text

from migrations.types import NAMES, Id, Instant, required

revision = "0012_receipts"
down_revision = "0008_approvals"
branch_labels = None
depends_on = None

_POSTGRESQL = (
    "CREATE TABLE receipt_roots_rest PARTITION OF receipt_roots DEFAULT",
    """CREATE TRIGGER receipt_roots_append_only BEFORE UPDATE OR DELETE ON receipt_roots
    FOR EACH ROW EXECUTE FUNCTION refuse_change()""",
)
# the first 12 digits of an id are its milliseconds
_SQLITE = (
    """CREATE TRIGGER receipt_roots_no_update BEFORE UPDATE ON receipt_roots
    BEGIN SELECT RAISE(ABORT, 'receipt_roots is append-only'); END""",
    """CREATE TRIGGER receipt_roots_no_delete BEFORE DELETE ON receipt_roots
    WHEN replace(substr(OLD.id, 1, 13), '-', '')
        > printf('%012x', (strftime('%s', 'now') - 31 * 86400) * 1000)
    BEGIN SELECT RAISE(ABORT, 'receipt_roots is append-only'); END""",
)

_schema = MetaData(naming_convention=NAMES)

Table(
    "receipt_roots",
    _schema,
    Column("id", Id, primary_key=True),
    Column("size", Integer, nullable=False),
    *required(LargeBinary, "root", "previous"),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    CheckConstraint("size > 0", name="size"),
    sqlite_strict=True,
    postgresql_partition_by="RANGE (id)",
)
Table(
    "receipt_keys",
    _schema,
    Column("id", Text, primary_key=True),
    Column("public", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    sqlite_strict=True,
)


def upgrade() -> None:
    connection = op.get_bind()
    _schema.create_all(connection, checkfirst=False)
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    _schema.drop_all(op.get_bind(), checkfirst=False)  # with their triggers
