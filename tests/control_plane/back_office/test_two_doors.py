"""Whatever an operator does in the browser, the same commands give the same ledger and trail."""

import asyncio
import json
import random
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.app import build
from gateway.app.process import Process
from gateway.cli.main import gateway as commands
from gateway.control_plane.back_office import approvals
from gateway.control_plane.billing import credit
from gateway.settings import Settings
from gateway.storage.database import Database
from testing.back_office import (
    ADMIN,
    check,
    ledger_of_organization,
    owned_organization,
    post,
    trail_of,
)
from testing.browsing import Browser
from testing.ledger import assert_sound
from testing.operators import sign_in_operator

_SECRET = "s" * 32
_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MIA, BO = "mia@example.com", "bo@example.com"


class Door(ABC):
    """An organization with a key, two operators, and one way in which they act."""

    def __init__(self, made: Process, browsers: dict[str, Browser], organization_id: str) -> None:
        self.made = made
        self.database: Database = made.core.database
        self.browsers = browsers
        self.organization_id = organization_id

    @abstractmethod
    async def grant(self, dollars: str, kind: str, days: str, why: str) -> None: ...

    @abstractmethod
    async def take(self, lot_id: str, dollars: str, why: str) -> None: ...

    @abstractmethod
    async def account(self, action: str, why: str) -> None: ...

    @abstractmethod
    async def key(self, key_id: str, action: str, dollars: str, why: str) -> None: ...

    @abstractmethod
    async def note(self, words: str) -> None: ...

    @abstractmethod
    async def decide(self, order_id: str, action: str, why: str) -> None: ...

    async def do(self, step: tuple[str, ...]) -> None:
        """Do a step; what it acts on is found in this organization."""
        name, *said = step
        if name == "take":
            async with self.database.read() as connection:
                lots = (await credit.balance(connection, self.organization_id)).lots
            await self.take(lots[int(said[0]) % len(lots)].id, *said[1:])
        elif name == "key":
            (key,) = await self.made.services.keys.listed(self.organization_id)
            await self.key(key.id, *said)
        elif name == "decide":
            async with self.database.read() as connection:
                waiting = await approvals.waiting(connection)
            for one in waiting[:1]:
                await self.decide(one.id, *said)
        else:
            await getattr(self, name)(*said)

    async def left(self) -> tuple[Any, Any]:
        """Return the ledger, and the trail with its ids in the order in which they appear."""
        await assert_sound(self.database)
        names: dict[str, str] = {}
        text = json.dumps([list(one) for one in await trail_of(self.database)])
        trail = _ID.sub(lambda found: names.setdefault(found[0], f"#{len(names)}"), text)
        ledger = await ledger_of_organization(self.database, self.organization_id)
        return ledger, json.loads(trail)


class Pages(Door):
    async def grant(self, dollars: str, kind: str, days: str, why: str) -> None:
        fields = {"amount": dollars, "kind": kind, "expires_days": days, **_reason(why)}
        await self._move("grant", **fields)

    async def take(self, lot_id: str, dollars: str, why: str) -> None:
        await self._move("take", lot=lot_id, amount=dollars, **_reason(why))

    async def _move(self, move: str, **fields: str) -> None:
        path, mia = f"{ADMIN}/{self.organization_id}/{move}", self.browsers[MIA]
        if (await check(mia, path, **fields)).status_code == 200:
            await post(mia, path, **fields)

    async def account(self, action: str, why: str) -> None:
        name = {"freeze": "suspend", "unfreeze": "unsuspend"}[action]
        await self._send(MIA, f"{ADMIN}/{self.organization_id}/{name}", words=why)

    async def key(self, key_id: str, action: str, dollars: str, why: str) -> None:
        path = f"{ADMIN}/{self.organization_id}/{action}"
        await self._send(MIA, path, target=key_id, amount=dollars, words=why)

    async def note(self, words: str) -> None:
        await self._send(MIA, f"{ADMIN}/{self.organization_id}/note", words=words)

    async def decide(self, order_id: str, action: str, why: str) -> None:
        await self._send(BO, f"/admin/approvals/{order_id}/{action}", words=why)

    async def _send(self, who: str, path: str, **fields: str) -> None:
        await self.browsers[who].get(f"{ADMIN}/{self.organization_id}")
        await self.browsers[who].submit(path, **fields)


class Commands(Door):
    async def grant(self, dollars: str, kind: str, days: str, why: str) -> None:
        expires = ("--expires-days", days) if days else ()
        await self._run("credits", "grant", self.organization_id, dollars, "--kind", kind, *expires,
                        "--as", MIA, "--reason", why)  # fmt: skip

    async def take(self, lot_id: str, dollars: str, why: str) -> None:
        await self._run("credits", "take", self.organization_id, lot_id, dollars,
                        "--as", MIA, "--reason", why)  # fmt: skip

    async def account(self, action: str, why: str) -> None:
        await self._run("credits", action, self.organization_id, "--as", MIA, "--reason", why)

    async def key(self, key_id: str, action: str, dollars: str, why: str) -> None:
        amount = [dollars] if action == "budget" else []
        await self._run("keys", action, key_id, *amount, "--as", MIA, "--reason", why)

    async def note(self, words: str) -> None:
        await self._run("organizations", "note", self.organization_id, words, "--as", MIA)

    async def decide(self, order_id: str, action: str, why: str) -> None:
        reason = ["--reason", why] if action == "reject" else []
        await self._run("credits", action, order_id, "--as", BO, *reason)

    async def _run(self, *words: str) -> None:
        """Run a command in this process, in a thread of its own: it brings its own loop."""
        environment = {
            "GATEWAY_SECRET": _SECRET,
            "DATABASE_URL": self.database.url.render_as_string(hide_password=False),
        }
        runner = CliRunner()
        await asyncio.to_thread(runner.invoke, commands, words, env=environment)


def _reason(why: str) -> dict[str, str]:
    cause, _, words = why.partition(": ")
    return {"cause": cause, "words": words, "ticket": ""}


def drawn(seed: int) -> list[tuple[str, ...]]:
    """Draw what an operator does, in any order: some waits for a second one, some can't be done."""
    chance = random.Random(seed)
    why = f"goodwill: case {seed}"
    small, large = chance.choice(["0.5", "7", "99.999999999"]), chance.choice(["101", "5000"])
    days = chance.choice(["", "30", "90"])
    steps: list[tuple[str, ...]] = [
        ("grant", small, "promo", days, why),
        ("grant", small, "paid", "", why),
        ("grant", large, "paid", days, why),
        ("grant", "much", "promo", days, why),
        ("take", str(chance.randrange(5)), "0.2", why),
        ("take", str(chance.randrange(5)), large, why),
        ("account", "freeze", why),
        ("account", chance.choice(["freeze", "unfreeze"]), why),
        ("key", "budget", "5", why),
        ("key", "revoke", "5", why),
        ("note", f"note {seed}"),
        ("decide", chance.choice(["approve", "reject"]), why),
    ]
    chance.shuffle(steps)
    return [*steps, ("grant", "500", "promo", "", why), ("decide", "approve", why)]


@asynccontextmanager
async def opened(kind: type[Door], template: Path, folder: Path) -> AsyncIterator[Door]:
    folder.mkdir()
    url = f"sqlite:///{shutil.copy(template, folder / 'gateway.db')}"
    made = build(Settings(secret=_SECRET, database_url=url, dev_mail=True))
    async with made.running():
        browsers = {name: Browser(made.app) for name in ("ada@example.com", MIA, BO)}
        owner = await owned_organization(made, browsers["ada@example.com"], "ada@example.com")
        await made.services.keys.create(owner, "laptop")
        await sign_in_operator(browsers[MIA], made, MIA, "finance")
        await sign_in_operator(browsers[BO], made, BO, "owner")
        yield kind(made, browsers, owner)
        for browser in browsers.values():
            await browser.close()


@pytest.mark.parametrize("seed", range(2))
async def test_both_doors_lead_to_the_same(seed: int, sqlite_template: Path, tmp_path: Path):
    steps = drawn(seed)
    async with (
        opened(Pages, sqlite_template, tmp_path / "pages") as pages,
        opened(Commands, sqlite_template, tmp_path / "commands") as line,
    ):
        for step in steps:
            await pages.do(step)
            await line.do(step)
            (ledger, trail), (other_ledger, other_trail) = await pages.left(), await line.left()
            assert ledger == other_ledger, step
            assert trail == other_trail, step
    assert len(ledger) > 2
    assert {"credit.granted", "approval.requested", "approval.given"} <= {one[1] for one in trail}
