"""versions of the catalogue; one's votes without reading everybody's"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Nanos

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_PARTS = ("model_prices", "golden_rows")


def upgrade() -> None:
    op.create_table(
        "catalog_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", Nanos, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_catalog_versions_one"),
        sa.PrimaryKeyConstraint("id", name="pk_catalog_versions"),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO catalog_versions (id, version) VALUES (1, 1)")
    # plain SQL, because SQLite would rebuild the table
    number = "BIGINT" if _postgresql() else "INTEGER"
    op.execute(f"ALTER TABLE models ADD COLUMN version {number} NOT NULL DEFAULT 1")
    if _postgresql():
        _number_postgresql()
    else:
        _number_sqlite()
    op.create_index("ix_demand_votes_voter_key", "demand_votes", ["voter_key"])
    op.create_index("ix_waitlist_entries_address_key", "waitlist_entries", ["address_key"])


def downgrade() -> None:
    op.drop_index("ix_waitlist_entries_address_key", "waitlist_entries")
    op.drop_index("ix_demand_votes_voter_key", "demand_votes")
    if _postgresql():
        op.execute("DROP TRIGGER models_version ON models")
        for table in _PARTS:
            op.execute(f"DROP TRIGGER {table}_version ON {table}")
        op.execute("DROP FUNCTION number_model, number_model_of")
    else:
        for verb in ("insert", "update"):
            op.execute(f"DROP TRIGGER models_{verb}_version")
        for table in _PARTS:
            for verb in ("insert", "update", "delete"):
                op.execute(f"DROP TRIGGER {table}_{verb}_version")
    op.execute("ALTER TABLE models DROP COLUMN version")
    op.drop_table("catalog_versions")


def _number_postgresql() -> None:
    """Give each change the next number. Its row stays locked, so numbers commit in their order."""
    op.execute("""
        CREATE FUNCTION number_model() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE catalog_versions SET version = version + 1 RETURNING version INTO NEW.version;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION number_model_of() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE models SET version = version WHERE id = coalesce(NEW.model_id, OLD.model_id);
            RETURN NULL;
        END $$
    """)
    op.execute(
        "CREATE TRIGGER models_version BEFORE INSERT OR UPDATE ON models "
        "FOR EACH ROW EXECUTE FUNCTION number_model()"
    )
    for table in _PARTS:
        op.execute(
            f"CREATE TRIGGER {table}_version AFTER INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION number_model_of()"
        )


def _number_sqlite() -> None:
    changes = [
        ("models_insert", "INSERT ON models", "NEW.id"),
        ("models_update", "UPDATE OF id, state, card, created_at ON models", "NEW.id"),
    ]
    for table in _PARTS:
        changes += [
            (f"{table}_insert", f"INSERT ON {table}", "NEW.model_id"),
            (f"{table}_update", f"UPDATE ON {table}", "NEW.model_id"),
            (f"{table}_delete", f"DELETE ON {table}", "OLD.model_id"),
        ]
    for name, change, model_id in changes:
        op.execute(f"""
            CREATE TRIGGER {name}_version AFTER {change} BEGIN
                UPDATE catalog_versions SET version = version + 1;
                UPDATE models SET version = (SELECT version FROM catalog_versions)
                WHERE id = {model_id};
            END
        """)


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
