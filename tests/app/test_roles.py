"""GATEWAY_ROLE: what a process of each role answers, and that two of them are the whole service."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from gateway.app import build
from testing.browsing import Browser, sign_in
from testing.gateways import MODEL, Api, open_api, settings
from testing.processes import Process

PAGES = ("/", "/models", f"/models/{MODEL}", "/calculator", "/docs", "/sign-in", "/status")


@pytest.fixture
async def planes(
    sqlite_database_url: list[str], fake_worker: Process
) -> AsyncIterator[tuple[Api, Api]]:
    """A process of each plane on one database."""
    url, workers = sqlite_database_url[0], f"{MODEL}={fake_worker.url}"
    options = {"dev_mail": True, "worker_secret": "w" * 32}
    async with (
        open_api(url, workers, role="data", **options) as data,
        open_api(url, workers, role="control", **options) as control,
    ):
        yield data, control


async def test_each_plane_answers_its_own_paths(planes: tuple[Api, Api]):
    data, control = planes
    for path in (*PAGES, "/console", "/openapi.json", "/favicon.ico"):
        assert (await data.http.get(path)).status_code == 404, path
    for path in (*PAGES, "/openapi.json"):
        assert (await control.http.get(path)).status_code == 200, path
    for path in ("/v1/models", "/v1/credits", "/v1/usage"):
        assert (await data.http.get(path, headers=data.headers)).status_code == 200, path
        assert (await control.http.get(path, headers=data.headers)).status_code == 404, path
    assert (await data.embed()).status_code == 200
    refused = await control.embed()
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    for one in planes:
        assert (await one.http.get("/health/ready")).status_code == 200
        # each has workers of its own to dispatch to: unsigned news of one is refused, not lost
        assert (await one.http.post("/internal/workers")).status_code == 401


async def test_a_page_that_is_not_there_is_an_envelope_on_the_data_plane(planes: tuple[Api, Api]):
    missing = [await one.http.get("/console/nothing") for one in planes]
    assert missing[0].json()["error"]["code"] == "not_found"
    assert missing[1].headers["content-type"].startswith("text/html")


async def test_two_planes_on_one_database_are_the_whole_service(planes: tuple[Api, Api]):
    data, control = planes
    browser = Browser(control.app)
    await sign_in(browser, control.gateway, "ada@example.org", next_path="/console/keys")
    made = await browser.submit("/console/keys", name="mine")
    secret = re.search(r"sk-\w{40,}", made.text)
    assert secret
    data.headers["authorization"] = f"Bearer {secret[0]}"
    answer = await data.embed()
    (usage,) = await (await data.settled()).usage()
    assert str(usage.cost_nanos) == answer.headers["x-cost-nanos"]
    assert usage.organization_id != data.ledger.organization_id
    keys = await browser.get("/console/keys")
    path = re.search(r"/console/keys/[0-9a-f-]{36}/revoke", keys.text)
    assert path
    await browser.get(path[0])
    await browser.submit(path[0])
    async with asyncio.timeout(20):  # read from the database, twice a second
        while (await data.embed()).status_code != 401:
            await asyncio.sleep(0.02)
    await control.ready()
    await browser.get(f"/playground/{MODEL}")
    tried = await browser.submit(f"/playground/{MODEL}", sentences="one\ntwo")
    assert tried.status_code == 200, "the control plane reaches workers too"
    await browser.close()


def test_every_job_runs_on_some_plane_and_upkeep_on_one(tmp_path):
    def names(role: str) -> set[str]:
        made = build(settings(f"sqlite:///{tmp_path}/gateway.db", role=role))
        return {job.name for job in made.jobs}

    data, control = names("data"), names("control")
    assert data | control == names("all")
    assert data & control == {
        "catalog",
        "clock",
        "schema",
        "worker-orders",
        "write-asks",
        "write-demand",
    }
    reading = {"key-changes", "mac-secrets", "organization-limits", "outdated-digests"}
    assert data - control == reading | {"journal-room", "write-answers", "write-requests"}
    assert {"reap-leases", "usage-partitions", "audit", "mail", "forget-old"} <= control
