"""A process that settles requests while its ledger is away, and says each one that it answers.

`python -m tests.data_plane.metering.unplugged FOLDER PLATTER DATABASE IGNORED`: its journal is in
FOLDER, on a disk that loses what is not synchronized. It goes on until it is killed.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from gateway.data_plane.metering.messages import LedgerUnavailable, Tick, TickAnswer
from gateway.storage.database import Database
from testing import lossy_disk
from testing.gateways import Ledger
from testing.ledger import ledger_of, running


class Leaving:
    """A ledger that leaves for good when it is told to."""

    def __init__(self, database: Database) -> None:
        self._ledger = ledger_of(database)
        self.away = False

    async def tick(self, tick: Tick) -> TickAnswer:
        if self.away:
            raise LedgerUnavailable("away")
        return await self._ledger.tick(tick)

    async def close(self) -> None:
        await self._ledger.close()


async def main(folder: Path, database: Database) -> None:
    ledger, leaving = await Ledger.create(database, 10**9), Leaving(database)
    async with running(database, folder, ledger=leaving) as engine:
        for number in count():
            charge = ledger.charge(8)
            await engine.reserve(charge)
            await engine.settle(charge)
            if number:
                print("answered", charge.request_id, flush=True)
            leaving.away = True


if __name__ == "__main__":
    lossy_disk.lose_unsynced(Path(sys.argv[2]), ignored=sys.argv[4])
    asyncio.run(main(Path(sys.argv[1]), Database(sys.argv[3])))
