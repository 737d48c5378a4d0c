"""sums of usage by the day"""

import sqlalchemy as sa
from alembic import op

from gateway.storage.tables.types import Day, Id, Nanos

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SUMS = ("requests", "inputs", "tokens", "charged_nanos")
_VERBS = ("INSERT", "UPDATE")
_KEYS = "organization_id, day, key_id, model_id, shard"


def upgrade() -> None:
    op.create_table(
        "usage_days",
        sa.Column("organization_id", Id(), nullable=False),
        sa.Column("day", Day(), nullable=False),
        sa.Column("key_id", Id(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.SmallInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("requests", Nanos, nullable=False),
        sa.Column("inputs", Nanos, nullable=False),
        sa.Column("tokens", Nanos, nullable=False),
        sa.Column("charged_nanos", Nanos, nullable=False),
        sa.CheckConstraint(
            "charged_nanos BETWEEN 0 AND 9007199254740991", name="ck_usage_days_charged_nanos"
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "day", "key_id", "model_id", "shard", name="pk_usage_days"
        ),
        sqlite_strict=True,
        postgresql_with={"fillfactor": 50},
    )
    if op.get_bind().dialect.name == "postgresql":
        _follow_postgresql()
    else:
        _follow_sqlite()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for verb in _VERBS:
            op.execute(f"DROP TRIGGER usage_hours_{verb.lower()}_by_the_day ON usage_hours")
            op.execute(f"DROP FUNCTION sum_usage_days_{verb.lower()}")
    else:
        for verb in _VERBS:
            op.execute(f"DROP TRIGGER usage_hours_{verb.lower()}_by_the_day")
    op.drop_table("usage_days")


def _follow_postgresql() -> None:
    """Let the days follow the hours; creating a trigger keeps writers out until the commit.

    A tick that waits for it goes on with the function that it began with, and meets the triggers:
    had that function been replaced instead, its hours would miss in the days. They run once a
    statement, since a tick writes many hours, and an upsert has both of them run.
    """
    for verb in _VERBS:
        hour = "hour, key_id, model_id, shard"
        changed = f"SELECT organization_id, {hour}, {', '.join(_SUMS)} FROM after"
        tables = "NEW TABLE AS after"
        if verb == "UPDATE":
            taken = ", ".join(f"-{name}" for name in _SUMS)
            changed += f" UNION ALL SELECT organization_id, {hour}, {taken} FROM before"
            tables += " OLD TABLE AS before"
        op.execute(f"""
            CREATE FUNCTION sum_usage_days_{verb.lower()}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO usage_days AS d ({_KEYS}, {", ".join(_SUMS)})
                SELECT organization_id, timezone('UTC', hour)::date AS day, key_id, model_id, shard,
                    {", ".join(f"sum({name})" for name in _SUMS)}
                FROM ({changed}) AS changed
                GROUP BY {_KEYS} ORDER BY {_KEYS}
                ON CONFLICT ({_KEYS}) DO UPDATE
                SET {", ".join(f"{name} = d.{name} + excluded.{name}" for name in _SUMS)};
                RETURN NULL;
            END $$
        """)
        op.execute(
            f"CREATE TRIGGER usage_hours_{verb.lower()}_by_the_day AFTER {verb} ON usage_hours "
            f"REFERENCING {tables} FOR EACH STATEMENT "
            f"EXECUTE FUNCTION sum_usage_days_{verb.lower()}()"
        )
    _carry_over("timezone('UTC', hour)::date")


def _follow_sqlite() -> None:
    for verb in _VERBS:
        before = (lambda name: f" - OLD.{name}") if verb == "UPDATE" else (lambda _: "")
        op.execute(f"""
            CREATE TRIGGER usage_hours_{verb.lower()}_by_the_day AFTER {verb} ON usage_hours
            BEGIN
                INSERT INTO usage_days ({_KEYS}, {", ".join(_SUMS)})
                VALUES (NEW.organization_id, substr(NEW.hour, 1, 10), NEW.key_id, NEW.model_id,
                    NEW.shard, {", ".join(f"NEW.{name}{before(name)}" for name in _SUMS)})
                ON CONFLICT ({_KEYS}) DO UPDATE
                SET {", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)};
            END
        """)
    _carry_over("substr(hour, 1, 10)")


def _carry_over(day: str) -> None:
    sums = ", ".join(f"sum({name})" for name in _SUMS)
    op.execute(
        f"INSERT INTO usage_days ({_KEYS}, {', '.join(_SUMS)}) "
        f"SELECT organization_id, {day}, key_id, model_id, shard, {sums} FROM usage_hours "
        f"GROUP BY organization_id, {day}, key_id, model_id, shard"
    )
