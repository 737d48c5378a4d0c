"""Incidents in the back office: what was measured, and what the public is told."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.control_plane.back_office import incidents as back_office
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.control_plane.pages.admin import incidents as incident_pages
from gateway.identifiers import new_id
from gateway.storage.tables import incident_updates, incidents, model_answers
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator, trail_of
from tests.control_plane.conftest import MINILM, STELLA, rows

NOW = datetime.now(UTC)


async def incident(gateway: Process, model_id: str, began: datetime, ended: datetime | None) -> str:
    incident_id = new_id()
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(incidents).values(
                id=incident_id, model_id=model_id, started_at=began, ended_at=ended
            )
        )
    return incident_id


async def an_ended_one(gateway: Process) -> str:
    began = NOW.replace(minute=50, second=0, microsecond=0) - timedelta(hours=3)
    return await incident(gateway, STELLA, began, began + timedelta(minutes=20))


async def test_open_ones_come_first_with_whose_words(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    assert "Every live model has a ready worker." in (await browser.get("/admin/incidents")).text
    going = await incident(gateway, MINILM, datetime.now(UTC) - timedelta(minutes=7), None)
    ended = await an_ended_one(gateway)
    async with gateway.core.database.write() as connection:
        await back_office.post(
            connection, COMMAND_LINE, ended, title="A full disk", words="Soon.", reason=""
        )
    page = squeezed((await browser.get("/admin/incidents")).text)
    assert page.index(f"/admin/incidents/{going}") < page.index(f"/admin/incidents/{ended}")
    assert f"{MINILM} was unavailable</a>" in page
    assert ">7 min so far<" in page
    assert ">20 min<" in page
    assert "none yet" in page
    assert "1 update, the last" in page
    assert "by the command line" in page


async def test_words_are_added_and_corrected(browser: Browser, gateway: Process):
    ops = await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    incident_id = await an_ended_one(gateway)
    path = f"/admin/incidents/{incident_id}"
    page = await browser.get(path)
    assert f'value="{STELLA} was unavailable"' in page.text
    said = {"title": "A full disk", "words": "We look\r\ninto it.", "reason": "Asked for"}
    done = await browser.submit(f"{path}/post", **said)
    assert "It is published" in done.text
    assert "words by ops@acme.example" in squeezed(done.text)
    (update,) = await rows(gateway, incident_updates.select())
    assert (update.title, update.words) == ("A full disk", "We look\ninto it.")
    (entry,) = await trail_of(gateway.core.database, "incident.update_posted")
    assert (entry.actor_id, entry.subject) == (ops, f"incident:{incident_id}")

    await sign_in_operator(browser, gateway, "owner@acme.example", "owner")
    page = await browser.get(f"{path}?correct={update.id}")
    assert ">We look\ninto it.</textarea>" in page.text
    said = {
        "update": update.id,
        "title": "A full disk",
        "words": "Disk replaced.",
        "reason": "It is over",
    }
    done = await browser.submit(f"{path}/correct", **said)
    assert "It is corrected" in done.text
    assert "words by owner@acme.example" in squeezed(done.text)
    (now,) = await rows(gateway, incident_updates.select())
    assert (now.id, now.posted_at, now.words) == (update.id, update.posted_at, "Disk replaced.")
    (entry,) = await trail_of(gateway.core.database, "incident.update_corrected")
    before, after = msgspec.json.decode(entry.before), msgspec.json.decode(entry.after)
    assert (before["words"], after["words"]) == ("We look\ninto it.", "Disk replaced.")
    status = (await browser.get("/status")).text
    assert "Disk replaced." in status
    assert "We look" not in status


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("title", "x" * 121, "Title: 1 to 120 characters."),
        ("words", " ", "Words: 1 to 2,000 characters."),
        ("reason", " ", "Say why, in 1 to 500 characters."),
        ("words", "We look into it.", "This is what it says already."),
    ],
)
@pytest.mark.parametrize("action", ["post", "correct"])
async def test_what_is_refused_is_still_there(
    browser: Browser, gateway: Process, action: str, field: str, value: str, says: str
):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    path = f"/admin/incidents/{await an_ended_one(gateway)}"
    await browser.get(path)
    said = {"title": "A full disk", "words": "We look into it.", "reason": "Asked for"}
    await browser.submit(f"{path}/post", **said)
    (update,) = await rows(gateway, incident_updates.select())
    said |= {"words": "It is replaced.", field: value} | (
        {"update": update.id} if action == "correct" else {}
    )
    refused = await browser.submit(f"{path}/{action}", **said)
    assert refused.status_code == 400
    assert says in refused.text
    assert f'action="{path}/{action}"' in refused.text  # to be sent again
    assert ">It is replaced.</textarea>" in refused.text or field == "words"
    assert await rows(gateway, incident_updates.select()) == [update]


async def test_who_may_not_says_nothing(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "finance")
    path = f"/admin/incidents/{await an_ended_one(gateway)}"
    assert "Your role does not allow this." in (await browser.get(path)).text
    said = {"title": "A full disk", "words": "Gone.", "reason": "why"}
    assert (await browser.submit(f"{path}/post", **said)).status_code == 403
    assert await rows(gateway, incident_updates.select()) == []


async def test_what_is_not_there(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    for unknown in (new_id(), "x"):
        assert (await browser.get(f"/admin/incidents/{unknown}")).status_code == 404
    path = f"/admin/incidents/{await an_ended_one(gateway)}"
    said = {"title": "A full disk", "words": "Gone.", "reason": "why"}
    for unknown in (new_id(), "x"):
        assert "Add an update" in (await browser.get(f"{path}?correct={unknown}")).text
        gone = await browser.submit(f"{path}/correct", update=unknown, **said)
        assert gone.status_code == 404


async def test_responses_are_those_of_its_model_and_hours(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    incident_id = await an_ended_one(gateway)
    path = f"/admin/incidents/{incident_id}"
    assert "none recorded" in (await browser.get(path)).text
    (row,) = await rows(gateway, select(incidents).where(incidents.c.id == incident_id))
    hour = row.started_at.replace(minute=0)
    counted = [
        (hour, STELLA, 2, 30), (hour, STELLA, 5, 2), (hour + timedelta(hours=1), STELLA, 5, 3),
        (hour, MINILM, 5, 500), (hour - timedelta(hours=1), STELLA, 5, 500),
        (hour + timedelta(hours=2), STELLA, 5, 500),
    ]  # fmt: skip
    async with gateway.core.database.write() as connection:
        for at, model_id, status_class, count in counted:
            await connection.execute(
                insert(model_answers).values(
                    hour=at, model_id=model_id, status_class=status_class, latency_ms=1,
                    answers=count,
                )
            )  # fmt: skip
    assert "<dd>35, 5 of them 5xx</dd>" in squeezed((await browser.get(path)).text)


async def test_pages_and_csv(browser: Browser, gateway: Process, monkeypatch: pytest.MonkeyPatch):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    going = await incident(gateway, MINILM, NOW, None)
    ended = [await an_ended_one(gateway) for _ in range(3)]
    monkeypatch.setattr(incident_pages, "ROWS", 2)
    first = (await browser.get("/admin/incidents")).text
    assert [f"/admin/incidents/{one}" in first for one in (going, *ended)] == [
        True,
        False,
        True,
        True,
    ]
    second = (await browser.get(f"/admin/incidents?before={ended[1]}")).text
    assert [f"/admin/incidents/{one}" in second for one in ended] == [True, False, False]
    csv = (await browser.get("/admin/incidents?format=csv")).text
    assert [line.split(",")[0] for line in csv.splitlines()] == ["id", *reversed(ended), going]
