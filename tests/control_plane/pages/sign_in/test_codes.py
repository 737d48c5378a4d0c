"""The six digits of a sign-in email, typed where they were asked for."""

import asyncio
import re
from datetime import timedelta

import pytest
from sqlalchemy import update

from gateway import wall
from gateway.app.process import Process
from gateway.control_plane.accounts.codes import TRIES_MAX
from gateway.storage.tables import mail_links
from testing.browsing import Browser, field

ADA, EVE = "ada@example.org", "eve@example.org"
WRONG = "That code isn&#39;t right."


@pytest.fixture
def where(database_url: str) -> str:
    return database_url


async def ask(browser: Browser, email: str, *, next_path: str = "") -> str:
    """Ask for a link; return the id of the form that asked."""
    await browser.get("/sign-in", params={"next": next_path})
    form_id = field(browser.page.text, "id")
    await browser.submit("/sign-in", email=email, next=next_path, id=form_id)
    assert field(browser.page.text, "id") == form_id
    return form_id


async def mailed_code(gateway: Process, email: str) -> str:
    mails = [mail for mail in await gateway.services.outbox.listed() if mail.recipient == email]
    found = re.search(r"asked for this email: (\d{3} \d{3})\n", mails[0].text)
    assert found
    return found[1]


def other_than(code: str) -> str:
    return f"{(int(code.replace(' ', '')) + 1) % 10**6:06d}"


@pytest.mark.parametrize("typed", ["{}", "  {}\u00a0", "{0[0]}{0[1]}{0[2]}-{0[4]}{0[5]}{0[6]}"])
async def test_a_code_signs_in_where_it_was_asked_for_and_once(
    browser: Browser, gateway: Process, typed: str
):
    form_id = await ask(browser, ADA, next_path="/console/keys")
    code = typed.format(await mailed_code(gateway, ADA))
    page = await browser.submit("/sign-in/code", email=ADA, id=form_id, code=code)
    assert page.url.path == "/console/keys"
    assert "Sign out" in page.text
    other = Browser(gateway.app)
    await other.get("/sign-in")
    again = await other.submit("/sign-in/code", email=ADA, id=form_id, code=code)
    assert again.status_code == 400
    assert WRONG in again.text
    await other.close()


async def test_a_code_is_nothing_to_another_form_or_another_address(
    browser: Browser, gateway: Process
):
    form_id = await ask(browser, ADA)
    code = await mailed_code(gateway, ADA)
    thief = Browser(gateway.app)
    their_form = await ask(thief, EVE)
    for email, asked in ((ADA, their_form), (EVE, form_id), (EVE, their_form), (ADA, "")):
        page = await thief.submit("/sign-in/code", email=email, id=asked, code=code)
        assert page.status_code == 400
        assert WRONG in page.text
        assert "Sign out" not in page.text
    await thief.close()
    assert (
        "Sign out" in (await browser.submit("/sign-in/code", email=ADA, id=form_id, code=code)).text
    )


@pytest.mark.parametrize(
    ("sent_to", "signs_in_as"),
    [("ada+x@example.org", ADA), (ADA, "ada+x@example.org"), ("a.da@gmail.com", "ada@gmail.com")],
)
async def test_a_code_signs_in_the_very_address_that_it_was_sent_to(
    browser: Browser, gateway: Process, sent_to: str, signs_in_as: str
):
    """Some servers give spellings of one mailbox to different people."""
    form_id = await ask(browser, sent_to)
    code = await mailed_code(gateway, sent_to)
    page = await browser.submit("/sign-in/code", email=signs_in_as, id=form_id, code=code)
    assert page.status_code == 400
    assert "Sign out" not in page.text
    await browser.submit("/sign-in/code", email=sent_to, id=form_id, code=code)
    assert sent_to in (await browser.get("/console/settings")).text


async def test_a_link_that_no_form_asked_for_has_no_code(browser: Browser, gateway: Process):
    """Version 0.1 makes such links while it runs beside this one."""
    await ask(browser, ADA)
    code = await mailed_code(gateway, ADA)
    async with gateway.core.database.write() as connection:
        await connection.execute(update(mail_links).values(form=""))
    page = await browser.submit("/sign-in/code", email=ADA, id="", code=code)
    assert page.status_code == 400
    assert "Sign out" not in page.text


async def test_after_too_many_wrong_codes_only_the_link_works(browser: Browser, gateway: Process):
    form_id = await ask(browser, ADA)
    code = await mailed_code(gateway, ADA)
    for _ in range(TRIES_MAX):
        page = await browser.submit("/sign-in/code", email=ADA, id=form_id, code=other_than(code))
        assert WRONG in page.text
        assert 'aria-invalid="true"' in page.text
    assert WRONG in (await browser.submit("/sign-in/code", email=ADA, id=form_id, code=code)).text
    mails = [mail for mail in await gateway.services.outbox.listed() if mail.recipient == ADA]
    link = re.search(r"http://127\.0\.0\.1:8080(/sign-in/link\S+)", mails[0].text)
    assert link
    await browser.get(link[1])
    await browser.submit("/sign-in/link", token=field(browser.page.text, "token"))
    assert "Sign out" in browser.page.text


async def test_guessers_at_once_have_no_more_tries_than_one(browser: Browser, gateway: Process):
    form_id = await ask(browser, ADA)
    code = await mailed_code(gateway, ADA)
    guesses = [other_than(code)] * (2 * TRIES_MAX)
    answers = await asyncio.gather(
        *(
            browser.http.post(
                "/sign-in/code",
                data={"csrf_token": browser.token, "email": ADA, "id": form_id, "code": guess},
            )
            for guess in guesses
        )
    )
    assert {answer.status_code for answer in answers} == {400}
    assert WRONG in (await browser.submit("/sign-in/code", email=ADA, id=form_id, code=code)).text


@pytest.mark.parametrize("change", ["expires_at", "used_at", "purpose"])
async def test_a_code_ends_with_its_link_and_is_of_no_other_purpose(
    browser: Browser, gateway: Process, change: str
):
    form_id = await ask(browser, ADA)
    code = await mailed_code(gateway, ADA)
    past = wall.now() - timedelta(seconds=1)
    value = "invitation" if change == "purpose" else past
    async with gateway.core.database.write() as connection:
        await connection.execute(update(mail_links).values({change: value}))
    page = await browser.submit("/sign-in/code", email=ADA, id=form_id, code=code)
    assert WRONG in page.text


async def test_who_is_sent_no_link_sees_the_same_page(browser: Browser, gateway: Process):
    for _ in range(gateway.core.settings.mail_links_per_hour):
        await ask(browser, ADA)
    before = len(await gateway.services.outbox.listed())
    form_id = await ask(browser, ADA)
    assert len(await gateway.services.outbox.listed()) == before
    page = await browser.submit("/sign-in/code", email=ADA, id=form_id, code="000000")
    assert page.status_code == 400
    assert WRONG in page.text


async def test_the_email_says_who_asked(browser: Browser, gateway: Process):
    browser.http.headers["user-agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"
    await ask(browser, ADA)
    (mail,) = await gateway.services.outbox.listed()
    asked = f"Requested from Firefox on Linux, network {browser.address}."
    assert f"\n\n{asked}\nIf it wasn't you, " in mail.text
