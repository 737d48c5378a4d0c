"""The second listener: it alone serves the back office and the metrics."""

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.app import build
from gateway.app.process import Process
from gateway.settings import Settings, SettingsError
from testing.browsing import Browser
from testing.gateways import METRICS_TOKEN, MONITORING, SECRET, open_api
from testing.operators import sign_in_operator
from testing.servers import free_port


@pytest.fixture
async def gateway(sqlite_database_url: list[str]) -> AsyncIterator[Process]:
    made = build(
        Settings(
            secret="s" * 32, database_url=sqlite_database_url[0], dev_mail=True,
            admin_port=free_port(),
        )
    )  # fmt: skip
    async with made.running():
        yield made


@pytest.fixture
async def private(gateway: Process) -> AsyncIterator[httpx.AsyncClient]:
    url = gateway.core.settings.admin_address
    transport = httpx.AsyncHTTPTransport(retries=3)
    async with httpx.AsyncClient(base_url=url, transport=transport) as client:
        yield client


async def test_each_listener_has_its_own(gateway: Process, private: httpx.AsyncClient):
    public = Browser(gateway.app)
    await sign_in_operator(public, gateway, "eve@example.com")
    unknown = await public.get("/no-such-page")
    host = "http://127.0.0.1:8080"
    for path in ("/admin", "/admin/verify", "/metrics", f"{host}//admin", f"{host}//metrics"):
        hidden = await public.get(path)
        assert (hidden.status_code, hidden.text) == (404, unknown.text), path

    cookies = {
        "cookie": "; ".join(f"{name}={value}" for name, value in public.http.cookies.items())
    }
    assert (await private.get("/admin", headers=cookies)).status_code == 200
    assert "process_cpu_seconds_total" in (await private.get("/metrics")).text
    assert set((await private.get("/health/ready")).json()) == {
        "status",
        "reasons",
        "ready_workers",
    }
    assert (await private.get("/sign-in")).status_code == 200
    for path in ("/", "/models", "/v1/models", "/openapi.json", "/webhooks/stripe"):
        assert (await private.get(path)).status_code == 404, path
    await public.close()


async def test_only_monitoring_learns_of_workers_on_the_public_port(
    sqlite_database_url: list[str],
):
    """Names of workers, of models that are not announced, traffic: none of it is for strangers."""
    paths = (
        "/metrics", "/metrics/", "/metrics//", "/METRICS", "/metrics?token=" + METRICS_TOKEN,
        "http://127.0.0.1//metrics",  # with a host, or httpx would take the path for one
    )  # fmt: skip
    strangers = [{}, {"authorization": "Bearer "}, {"authorization": f"Basic {METRICS_TOKEN}"}]
    async with open_api(sqlite_database_url[0]) as api:
        for headers in strangers:
            for path in paths:
                answer = await api.http.get(path, headers=headers)
                assert answer.status_code == 404, (path, headers)
            ready = await api.http.get("/health/ready", headers=headers)
            assert ready.json() == {"status": "ready"}
            unsigned = await api.http.post("/internal/workers", headers=headers)
            assert unsigned.status_code in (401, 404)
        assert "process_cpu_seconds_total" in (await api.monitored("/metrics")).text
        assert "workers" in (await api.monitored("/health/ready")).json()["reasons"]
    async with open_api(sqlite_database_url[0], metrics_token="") as api:
        for headers in (*strangers, MONITORING):
            assert (await api.http.get("/metrics", headers=headers)).status_code == 404


def test_a_token_that_can_be_guessed_is_refused():
    with pytest.raises(SettingsError, match="GATEWAY_METRICS_TOKEN"):
        Settings.from_environment({"GATEWAY_SECRET": SECRET, "GATEWAY_METRICS_TOKEN": "aaaabbbb"})


def test_its_address_has_the_public_host():
    given = {"GATEWAY_SECRET": SECRET, "GATEWAY_ADMIN_PORT": "9090"}
    assert Settings.from_environment(given).admin_address == "http://127.0.0.1:9090"
    with pytest.raises(SettingsError, match="GATEWAY_ADMIN_URL"):
        Settings.from_environment(given | {"GATEWAY_ADMIN_URL": "https://admin.example.com"})
