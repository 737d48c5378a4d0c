"""The waitlist in the back office: filters, pages and CSV."""

import pytest

from gateway.app.process import Process
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.demand import waitlist
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.pages.admin import waitlist as waitlist_page
from testing.browsing import Browser
from testing.operators import sign_in_operator
from tests.control_plane.conftest import STELLA


@pytest.fixture
async def waiting(browser: Browser, gateway: Process) -> None:
    user_id = await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    async with gateway.core.database.write() as connection:
        for name in ("a@one.example", "b@two.example", "c@two.example"):
            await waitlist.join(connection, STELLA, Address(name), None)
        await waitlist.join(connection, STELLA, Address("ops@acme.example"), user_id)
        await unsubscribe.add(connection, "c@two.example")


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "ops c b a"),
        ("q=two.example", "c b"),
        ("q=A%2Bx@one.example", "a"),
        ("account=yes", "ops"),
        ("account=no", "c b a"),
        ("account=unsubscribed", "c"),
        (f"model={STELLA}&q=@one.example", "a"),
        ("model=no/such", ""),
    ],
)
async def test_filters(browser: Browser, query: str, names: str):
    csv = await browser.get(f"/admin/waitlist?format=csv&{query}")
    lines = csv.text.splitlines()[1:]
    assert " ".join(line.split(",")[2].partition("@")[0] for line in lines) == names


@pytest.mark.usefixtures("waiting")
async def test_pages(browser: Browser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waitlist_page, "ROWS", 2)
    first = await browser.get("/admin/waitlist?q=")
    assert "c@two.example" in first.text
    assert "b@two.example" not in first.text
    older = first.text.partition("before=")[2].partition('"')[0]
    second = await browser.get(f"/admin/waitlist?before={older}")
    assert "b@two.example" in second.text
    assert "Older" not in second.text
    assert (await browser.get("/admin/waitlist?before=nonsense")).status_code == 200
