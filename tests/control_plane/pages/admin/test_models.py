"""Models in the back office: an edit is checked and saved, prices are set, roles hold."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.control_plane.back_office import model_control, pinning
from gateway.control_plane.catalog import golden, toml
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.control_plane.workers import trusted
from gateway.dates import day_text
from gateway.identifiers import new_id
from gateway.storage.tables import memberships, price_changes, trail_entries, usage_hours
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.conftest import MINILM, STELLA, rows
from tests.control_plane.pages.conftest import QUERIES_MAX, Fields, counted

PAGE = f"/admin/models/{STELLA}"


async def test_an_edit_is_checked_saved_and_shown_to_everyone(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    form = Fields(await browser.get(f"{PAGE}/edit")).values
    card, page = form["card"].lstrip("\n"), form["page"].lstrip("\n")
    wrong = await browser.submit(f"{PAGE}/edit", card="license = 1", page=page, do="check")
    assert wrong.status_code == 400
    assert Fields(wrong).blamed() == "card"
    assert "Stella EN 400M V5" in Fields(wrong).values["page"]

    page = page.replace("Stella EN 400M V5", "Stella, renamed")
    card = card.replace('license = "MIT"', 'license = "MIT-0"')
    checked = await browser.submit(f"{PAGE}/edit", card=card, page=page, do="check")
    assert "Save 3 changes" in squeezed(checked.text)  # the title stands in the description too
    assert (await browser.get(f"/models/{STELLA}")).text.count("Stella, renamed") == 0

    await browser.get(f"{PAGE}/edit")
    refused = await browser.submit(f"{PAGE}/edit", card=card, page=page, do="save")
    assert (refused.status_code, Fields(refused).blamed()) == (400, "reason")
    saved = await browser.submit(f"{PAGE}/edit", card=card, page=page, do="save", reason="a name")
    assert "card: license" in saved.text
    await gateway.core.catalog.refresh()
    public = await browser.get(f"/models/{STELLA}")
    assert "<h1>Stella, renamed</h1>" in public.text
    assert "MIT-0" in public.text


async def test_a_model_is_added(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    async with gateway.core.database.read() as connection:
        known = await model_control.current(connection, STELLA)
    said = {
        "id": "acme/new", "price": "0.01", "card": toml.written(known.card),
        "page": toml.written(known.page).replace(STELLA, "acme/new"),
    }  # fmt: skip
    await browser.get("/admin/models/new")
    checked = await browser.submit("/admin/models/new", do="check", **said)
    assert "Add acme/new" in squeezed(checked.text)
    await browser.submit("/admin/models/new", do="save", reason="asked for", **said)
    await gateway.core.catalog.refresh()
    assert "acme/new" in (await browser.get("/admin/models?q=acme")).text
    assert (await browser.get("/models/acme/new")).status_code == 200
    csv = await browser.get("/admin/models?format=csv&state=coming_soon")
    assert "acme/new,coming_soon,10000000,5000000" in csv.text


async def test_a_price_is_checked_set_and_called_off(browser: Browser, gateway: Process):
    user_id = await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    async with gateway.core.database.write() as connection:
        mine = select(memberships.c.organization_id).where(memberships.c.user_id == user_id)
        await connection.execute(
            insert(usage_hours).values(
                organization_id=await connection.scalar(mine), hour=datetime.now(UTC),
                key_id=new_id(), model_id=MINILM, shard=0, requests=1, inputs=1, tokens=10**9,
                charged_nanos=8 * 10**9,
            )
        )  # fmt: skip
    page = f"/admin/models/{MINILM}/price"
    checked = await browser.get(f"{page}?price=0.01")
    assert "$8.00 <" in checked.text.replace("</dd>", " <")
    assert "30 days&#39; notice" in checked.text.replace("' notice", "&#39; notice")
    refused = await browser.submit(page, price="0.01", reason="power")
    assert (refused.status_code, Fields(refused).blamed()) == (400, "day")

    day = f"{datetime.now(UTC) + timedelta(days=40):%Y-%m-%d}"
    previewed = await browser.get(f"{page}?price=0.01&day={day}")
    assert f"The price of {MINILM} rises from $0.008 to $0.01 per million tokens" in previewed.text
    assert "Text of the mail" in previewed.text
    done = await browser.submit(page, price="0.01", day=day, reason="power")
    await gateway.core.prices_to_come.refresh()
    public = squeezed((await browser.get(f"/models/{MINILM}")).text)
    day = day_text(datetime.now(UTC) + timedelta(days=40))
    assert re.search(f"From <time [^>]*>{day}</time>: <strong>\\$0.01", public)
    (change,) = await rows(gateway, select(price_changes))
    assert change.id in done.text
    gone = await browser.submit(f"{page}/cancel", change=change.id, reason="not now")
    assert change.id not in gone.text
    actions = select(trail_entries.c.action).order_by(trail_entries.c.number)
    told = [row.action for row in await rows(gateway, actions) if row.action.startswith("price.")]
    assert told == ["price.scheduled", "price.canceled"]


async def test_who_vouched_is_shown(
    browser: Browser, gateway: Process, monkeypatch: pytest.MonkeyPatch
):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")

    async def asked(*_: object) -> tuple[str, list[object]]:
        return "r1", []

    monkeypatch.setattr(trusted, "asked", asked)
    await pinning.pin(
        gateway.core.database, COMMAND_LINE, STELLA, "http://w.example", reason="ours"
    )
    async with gateway.core.database.write() as connection:
        await golden.pin(connection, STELLA, "r0", [])
    page = squeezed((await browser.get(PAGE)).text)
    assert "a command" in page.partition("<code>r1</code>")[2][:300]
    assert "not on record" in page.partition("<code>r0</code>")[2][:300]


@pytest.mark.parametrize("role", ["read", "support", "finance"])
async def test_other_roles_change_nothing(browser: Browser, gateway: Process, role):
    await sign_in_operator(browser, gateway, "ops@acme.example", role)
    form = Fields(await browser.get(f"{PAGE}/edit")).values
    sent = {"card": form["card"], "page": form["page"], "do": "save", "reason": "x"}
    for path, fields in (
        (f"{PAGE}/edit", sent),
        (f"{PAGE}/price", {"price": "0.001", "reason": "x"}),
        (f"{PAGE}/state", {"state": "retired", "reason": "x"}),
    ):
        await browser.get(PAGE)
        assert (await browser.submit(path, **fields)).status_code == 403
    assert "can't change models" in (await browser.get(PAGE)).text


async def test_few_queries_a_page(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    for path in (
        "/admin/models", PAGE, f"{PAGE}/edit", f"{PAGE}/price?price=0.01", "/admin/demand",
        f"/admin/demand/{STELLA}", "/admin/waitlist", "/admin/launches",
        f"/admin/launches/{STELLA}",
    ):  # fmt: skip
        with counted(gateway) as statements:
            assert (await browser.get(path)).status_code == 200
        assert len(statements) <= QUERIES_MAX, (path, statements)
