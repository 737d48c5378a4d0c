"""The second listener: it alone serves the back office and the metrics."""

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.app import build
from gateway.app.process import Process
from gateway.settings import Settings, SettingsError
from testing.browsing import Browser
from testing.gateways import SECRET
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
    for path in ("/admin", "/admin/verify", "/metrics"):
        hidden = await public.get(path)
        assert (hidden.status_code, hidden.text) == (404, unknown.text), path

    cookies = {
        "cookie": "; ".join(f"{name}={value}" for name, value in public.http.cookies.items())
    }
    assert (await private.get("/admin", headers=cookies)).status_code == 200
    assert "process_cpu_seconds_total" in (await private.get("/metrics")).text
    assert (await private.get("/sign-in")).status_code == 200
    for path in ("/", "/models", "/v1/models", "/openapi.json", "/webhooks/stripe"):
        assert (await private.get(path)).status_code == 404, path
    await public.close()


def test_its_address_has_the_public_host():
    given = {"GATEWAY_SECRET": SECRET, "GATEWAY_ADMIN_PORT": "9090"}
    assert Settings.from_environment(given).admin_address == "http://127.0.0.1:9090"
    with pytest.raises(SettingsError, match="GATEWAY_ADMIN_URL"):
        Settings.from_environment(given | {"GATEWAY_ADMIN_URL": "https://admin.example.com"})
