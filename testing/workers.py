"""Workers as gateways see them, for tests that run none."""

from datetime import UTC, datetime

import msgspec
from sqlalchemy import insert

from gateway.identifiers import new_id
from gateway.snapshots import WorkerState, WorkerView
from gateway.storage.database import Database
from gateway.storage.tables import worker_reports


def a_view(url: str, state: WorkerState = WorkerState.READY) -> WorkerView:
    """Return a worker in a state."""
    return WorkerView(
        url=url,
        state=state,
        reason="proved",
        revision="r1",
        tokens_in_flight=512,
        calls_in_flight=1,
        slowdown=1.0,
        window_share=1.0,
        limping=False,
        tokens_per_second=1000.0,
        ejections=0,
        examinations=3,
        history=(),
        proved_seconds=2.0,
    )


async def report(database: Database, model: str, *views: WorkerView, gateway_id: str = "") -> str:
    """Report workers as a gateway does; return its id."""
    gateway_id = gateway_id or new_id()
    async with database.write() as connection:
        await connection.execute(
            insert(worker_reports),
            [
                {
                    "gateway_id": gateway_id,
                    "model_id": model,
                    "url": view.url,
                    "view": msgspec.json.encode(view).decode(),
                    "seen_at": datetime.now(UTC),
                }
                for view in views
            ],
        )
    return gateway_id
