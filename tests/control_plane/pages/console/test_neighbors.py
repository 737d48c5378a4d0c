"""What one organization does changes not a character of what another one sees."""

from types import SimpleNamespace

import pytest
from sqlalchemy import insert, select

from gateway import wall
from gateway.app.process import Process
from gateway.data_plane.records import Recorded
from gateway.identifiers import new_id
from gateway.storage.tables import api_keys, usage_hours
from testing.browsing import Browser, sign_in, squeezed
from tests.control_plane.conftest import MINILM, STELLA, rows
from tests.control_plane.pages.console.conftest import stranger_to

OF_EVE = [(200, "", 0.04), (402, "key_budget_exceeded", 0.001)]
OF_ADA = [(200, "", 9.0), (200, "", 9.0), (503, "overloaded", 5.0), (429, "rate_limited", 0.01)]
PAGES = [
    "/console", "/console/usage", "/console/keys", "/console/errors", "/console/requests",
    "/console/usage?metric=errors&split=key", "/console/usage?metric=errors&split=model&days=1",
    "/console/usage?metric=latency", "/console/usage?metric=tokens&split=key",
    "/console/usage.csv?by=key", "/console/errors?days=1", "/console/requests?outcome=errors",
    "/console/requests?format=csv",
]  # fmt: skip


async def key_of(browser: Browser, gateway: Process, name: str) -> tuple[str, str]:
    """Create a key; return its id and its organization's."""
    await browser.submit("/console/keys", name=name)
    query = select(api_keys.c.id, api_keys.c.organization_id).where(api_keys.c.name == name)
    ((key_id, organization_id),) = await rows(gateway, query)
    return str(key_id), str(organization_id)


async def call(
    gateway: Process, key: tuple[str, str], model: str, answers: list[tuple[int, str, float]]
) -> str:
    """Have a key call and write it all down; return the last request's id."""
    key_id, organization_id = key
    for status, code, seconds in answers:
        request: Recorded = SimpleNamespace(
            request_id=new_id(), organization_id=organization_id, key_id=key_id, model_id=model,
            tokens=7, original_id=None,
        )  # fmt: skip
        gateway.data.records.answered(request, status, code, seconds)
    await gateway.data.answered.flush()
    await gateway.data.request_log.flush()
    hour = wall.now().replace(minute=0, second=0, microsecond=0)
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(usage_hours).values(
                organization_id=organization_id, key_id=key_id, model_id=model, hour=hour,
                shard=0, requests=1, inputs=1, tokens=7, charged_nanos=56,
            )
        )  # fmt: skip
    return request.request_id


async def seen(browser: Browser, paths: list[str]) -> dict[str, str]:
    pages = {path: (await browser.get(path)).text for path in paths}
    return {path: squeezed(text.replace(browser.token, "")) for path, text in pages.items()}


async def test_nothing_of_an_organization_is_seen_by_its_neighbors(
    gateway: Process, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    now = wall.now()
    monkeypatch.setattr(wall, "now", lambda: now)
    await sign_in(browser, gateway, "ada@example.org")
    of_ada = await key_of(browser, gateway, "of ada")
    eve = await stranger_to(gateway)
    await call(gateway, await key_of(eve, gateway, "of eve"), MINILM, OF_EVE)
    key, _ = of_ada
    named = [
        f"/console/requests?key={key}", f"/console/usage?key={key}", f"/console/keys/{key}",
        f"/console/usage?metric=errors&key={key}",
    ]  # fmt: skip
    before = await seen(eve, [*PAGES, *named])
    request_id = await call(gateway, of_ada, STELLA, OF_ADA)
    after = await seen(eve, [*PAGES, *named])
    assert [path for path in before if before[path] != after[path]] == []
    assert (await eve.get(f"/console/requests/{request_id}")).status_code == 404
    assert (await browser.get(f"/console/requests/{request_id}")).status_code == 200
    await eve.close()
