"""Mail in the back office: what became of each, and another try."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.app.process import Process
from gateway.control_plane.pages.admin import mail as mail_page
from testing.browsing import Browser
from testing.mailbox import put_mail
from testing.operators import sign_in_operator, trail_of


async def test_a_failed_mail_is_sent_again(browser: Browser, gateway: Process):
    user_id = await sign_in_operator(browser, gateway, "ops@acme.example", "support")
    mail_id = await put_mail(gateway.core.database, subject="Low on credit")
    listed = await browser.get("/admin/mail?state=failed")
    assert f'href="/admin/mail/{mail_id}"' in listed.text
    page = await browser.get(f"/admin/mail/{mail_id}")
    assert "550" in page.text
    done = await browser.submit(f"/admin/mail/{mail_id}/resend", reason="server is back")
    assert "It will be sent in a moment" in done.text
    (entry,) = await trail_of(gateway.core.database, "mail.resent")
    assert (entry.actor_id, entry.subject) == (user_id, f"mail:{mail_id}")

    refused = await browser.submit(f"/admin/mail/{mail_id}/resend", reason="again")
    assert refused.status_code == 400
    assert "can&#39;t be sent again" in refused.text
    assert 'value="again"' in refused.text


async def test_who_only_reads_sees_why_not(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    mail_id = await put_mail(gateway.core.database)
    page = await browser.get(f"/admin/mail/{mail_id}")
    assert "Your role does not allow this." in page.text
    assert (await browser.submit(f"/admin/mail/{mail_id}/resend")).status_code == 403
    assert await trail_of(gateway.core.database, "mail.resent") == []


async def test_one_that_may_have_arrived_is_asked_about(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "support")
    mail_id = await put_mail(gateway.core.database, kind="launch", state="unknown")
    page = await browser.get(f"/admin/mail/{mail_id}")
    assert "It may have arrived" in page.text
    refused = await browser.submit(f"/admin/mail/{mail_id}/resend", reason="lost")
    assert refused.status_code == 400
    done = await browser.submit(f"/admin/mail/{mail_id}/resend", even_unknown="yes", reason="lost")
    assert "It will be sent in a moment" in done.text


async def test_pages_filters_and_csv(
    browser: Browser, gateway: Process, monkeypatch: pytest.MonkeyPatch
):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    now = datetime.now(UTC)
    for number in range(3):
        await put_mail(
            gateway.core.database,
            recipient="bob@example.org",
            subject=f"no {number}",
            reason="=1+1",
            created_at=now - timedelta(days=number),
        )
    monkeypatch.setattr(mail_page, "ROWS", 2)
    first = await browser.get("/admin/mail?to=bob@example.org")
    assert "no 2" in first.text
    assert "no 0" not in first.text
    assert "ops@acme.example</a>" not in first.text
    older = first.text.partition("before=")[2].partition('"')[0]
    second = await browser.get(f"/admin/mail?to=bob@example.org&before={older}")
    assert "no 0" in second.text
    assert "no 2" not in second.text
    csv = await browser.get("/admin/mail?format=csv&to=bob@example.org")
    assert len(csv.text.splitlines()) == 4
    assert "'=1+1" in csv.text
    assert (await browser.get("/admin/mail?before=nonsense&state=nonsense")).status_code == 200
    assert (await browser.get("/admin/mail/nonsense")).status_code == 404
