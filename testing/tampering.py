"""What the owner of a database can do to it: history is changed with the triggers off."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def tamper(connection: AsyncConnection, statement: str) -> None:
    """Run a statement that the triggers of its table would refuse, or follow."""
    triggers = []
    if connection.dialect.name == "sqlite":
        query = text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")
        found = await connection.execute(query)
        triggers = [row for row in found if row.tbl_name in statement]
        for trigger in triggers:
            await connection.execute(text(f"DROP TRIGGER {trigger.name}"))
    else:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
    await connection.execute(text(statement))
    for trigger in triggers:
        await connection.execute(text(trigger.sql))
