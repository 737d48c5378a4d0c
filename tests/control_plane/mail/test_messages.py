"""Messages: names are text, and one click unsubscribes."""

import re

import pytest

from gateway.app.process import Process
from gateway.control_plane.mail.messages import MailWriter, plain
from testing.browsing import Browser


def test_names_are_no_links_in_mails_however_they_are_written():
    for name in ("evil.com", "evil\u200d.com", "evil.\u200ccom", "https:\u200d//evil.\u200ccom/x"):
        assert not re.search(r"\w\W?[.:/@]\W?\w", plain(name)), name


def test_names_are_text_in_mails():
    writer = MailWriter({"brand": "B", "public_url": "https://g.example"})
    mail = writer.write(
        "invitation", ref="r", recipient="a@b.org", subject="s", url="https://g.example/x",
        inviter="eve@b.org", organization="<script>alert(1)</script>", lasts="3 days",
        role="Member", meaning="uses keys",
    )  # fmt: skip
    assert "<script>" not in mail.html
    assert "&lt;script&gt;" in mail.html


async def test_one_click_needs_no_form_and_a_real_link(gateway: Process, browser: Browser):
    url = gateway.services.unsubscriptions.url("ada@example.org").removeprefix(
        "http://127.0.0.1:8080"
    )
    assert "ada@example.org" in (await browser.get(url)).text
    done = await browser.http.post(url, data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200
    forged = url.replace(b"ada".hex(), b"eve".hex())
    assert (await browser.http.post(forged)).status_code == 404
    for nonsense in ("nonsense", "61.%C3%BC", "%00"):
        assert (await browser.get(f"/mail/unsubscribe/{nonsense}")).status_code in (400, 404)


async def test_mails_are_shown_in_development_alone(browser: Browser):
    await browser.get("/sign-in")
    await browser.submit("/sign-in", email="ada@example.org")
    assert "ada@example.org" in (await browser.get("/dev/mail")).text


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, object]:
    return getattr(request, "param", {})


@pytest.mark.parametrize("options", [{"dev_mail": False}], indirect=True)
async def test_and_nowhere_else(browser: Browser):
    assert (await browser.get("/dev/mail")).status_code == 404
