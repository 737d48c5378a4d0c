"""Forms that are refused: on their own page, with what was typed still there, and why beside it."""

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import select

from benchmarks import pages
from gateway.app import Gateway
from gateway.control_plane.demand import votes
from gateway.control_plane.pages.storefront import playground
from gateway.control_plane.web import error_pages, forms
from gateway.storage.tables import api_keys, demand_votes, users
from testing.browsing import Browser, field, mailed_link, sign_in
from tests.control_plane.conftest import MINILM, STELLA
from tests.control_plane.pages.test_speed import QUERIES_MAX, counted

PATH = f"/models/{STELLA}"
SETTINGS = "/console/settings"
FROM_OUR_PAGE = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


class Fields(HTMLParser):
    """The fields of a page and what stands in them, and its alerts by their ids."""

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.fields: dict[str, dict[str, str]] = {}
        self.values: dict[str, str] = {}
        self.alerts: dict[str, str] = {}
        self._area = self._alert = ""
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag in ("input", "textarea") and said.get("type") != "hidden":
            self.fields[said["name"]] = said
            self.values[said["name"]] = said.get("value", "")
        self._area = said["name"] if tag == "textarea" else ""
        self._alert = said["id"] if said.get("role") == "alert" else ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.values[self._area] += data
        if self._alert:
            self.alerts[self._alert] = self.alerts.get(self._alert, "") + data

    def handle_endtag(self, _tag: str) -> None:
        self._area = self._alert = ""

    def blamed(self) -> str:
        """Return the one field that is at fault; it says by what."""
        (name,) = [name for name, said in self.fields.items() if "aria-invalid" in said]
        assert set(self.fields[name]["aria-describedby"].split()) & set(self.alerts)
        return name

    def said(self) -> str:
        """Return the one thing that is said of the page's forms."""
        (message,) = self.alerts.values()
        return message


async def rows(gateway: Gateway, query):
    async with gateway.database.read() as connection:
        return (await connection.execute(query)).all()


@pytest.mark.parametrize(
    ("wrong", "blamed", "message"),
    [
        ({"volume": "lots"}, "volume", "a whole number"),
        ({"volume": "9" * 12}, "volume", "up to a billion"),
        ({"price": "0,01"}, "price", "is not an amount"),
        ({"price": "9007200"}, "price", "is too much"),
        ({"use_case": "x" * 501}, "use_case", "at most 500"),
    ],
)
async def test_a_vote(
    gateway: Gateway, browser: Browser, wrong: dict[str, str], blamed: str, message: str
):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    said = {"volume": "1,250", "price": "0.01", "use_case": '<b>"search"</b>\nin mails'} | wrong
    with counted(gateway) as statements:
        page = await browser.submit("/vote", model=STELLA, **said)
    assert len(statements) <= QUERIES_MAX
    assert page.status_code == 400
    found = Fields(page)
    assert {name: found.values[name] for name in said} == said
    assert found.blamed() == blamed
    assert message in found.said()
    assert '<details class="more" open' in page.text
    assert await rows(gateway, select(demand_votes)) == []
    right = {"volume": "1,250", "price": "0.01", "use_case": "x"}
    assert (await browser.submit("/vote", model=STELLA, **right)).url.path == PATH


async def test_lines_of_a_use_case_count_as_they_were_typed(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    typed = "x\n" * 250  # what a browser lets in, and sends with two characters for each end
    await browser.submit("/vote", model=STELLA, use_case=typed.replace("\n", "\r\n"))
    (vote,) = await rows(gateway, select(demand_votes))
    assert vote.use_case == typed.strip()


@pytest.mark.parametrize("options", [{"votes_per_hour": 1}])
async def test_a_vote_too_often(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    await browser.submit("/vote", model=STELLA, use_case="first")
    page = await browser.submit("/vote", model=STELLA, use_case="second thoughts")
    assert page.status_code == 429
    assert int(page.headers["retry-after"]) > 0
    found = Fields(page)
    assert found.values["use_case"] == "second thoughts"
    assert "too often" in found.said()
    page = await browser.submit("/waitlist", model=STELLA)
    assert page.status_code == 429
    assert "too often" in Fields(page).said()


async def test_the_waitlist(browser: Browser):
    await browser.get(PATH)
    page = await browser.submit("/waitlist", model=STELLA, email="ada@nowhere")
    assert page.status_code == 400
    found = Fields(page)
    assert found.values["email"] == "ada@nowhere"
    assert found.blamed() == "email"
    assert "not a valid mail address" in found.said()
    assert f'href="/sign-in?next={PATH}"' in page.text  # and not where the form was sent
    assert f'rel="canonical" href="http://127.0.0.1:8080{PATH}"' in page.text
    page = await browser.submit("/waitlist", model=STELLA, email="ada@example.org")
    assert "One more step" in page.text


@pytest.mark.parametrize("options", [{"invitations_per_hour": 1}])
async def test_the_settings(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(SETTINGS)
    invite = {"email": "bob@nowhere"}
    for form, name, typed, status in [
        ("name", "name", {"name": " "}, 400),
        ("name", "name", {"name": "x" * 201}, 400),
        ("invite", "email", invite, 400),
        ("delete", "confirm", {"confirm": "eve@example.org"}, 400),
    ]:
        with counted(gateway) as statements:
            page = await browser.submit(f"{SETTINGS}/{form}", **typed)
        assert len(statements) <= QUERIES_MAX, form
        assert page.status_code == status, form
        found = Fields(page)
        assert found.blamed() == name
        assert found.values[name] == typed[name]
        assert list(found.alerts) == [f"{form}-problem"]
        others = {"name": "ada", "email": "", "confirm": ""}
        del others[name]
        assert {other: found.values[other] for other in others} == others
    await browser.submit(f"{SETTINGS}/invite", email="bob@example.org")
    await browser.get(SETTINGS)
    page = await browser.submit(f"{SETTINGS}/invite", email="carol@example.org")
    assert page.status_code == 429
    assert Fields(page).values["email"] == "carol@example.org"
    assert "too often" in Fields(page).said()


@pytest.mark.parametrize("options", [{"organization_members_max": 1}])
async def test_nobody_is_invited_to_what_is_full(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(SETTINGS)
    page = await browser.submit(f"{SETTINGS}/invite", email="bob@example.org")
    assert page.status_code == 400
    assert Fields(page).values["email"] == "bob@example.org"
    assert "as many members" in Fields(page).said()


async def test_the_last_owner_is_told_beside_the_members(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    (ada,) = await rows(gateway, select(users))
    await browser.get(SETTINGS)
    for path, fields in [
        (f"members/{ada.id}/role", {"role": "member"}),
        (f"members/{ada.id}/remove", {}),
        ("leave", {}),
    ]:
        page = await browser.submit(f"{SETTINGS}/{path}", **fields)
        assert page.status_code == 400, path
        assert "needs an owner" in Fields(page).said()
        assert 'id="invite"' in page.text


@pytest.mark.parametrize(
    ("wrong", "blamed"),
    [({"name": " "}, "name"), ({"budget": "1e3"}, "budget"), ({"budget": "9" * 12}, "budget")],
)
async def test_a_key(gateway: Gateway, browser: Browser, wrong: dict[str, str], blamed: str):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/keys")
    typed = {"name": "production", "budget": "5"}
    await browser.submit("/console/keys", **typed)
    (key,) = await rows(gateway, select(api_keys))
    for path in ("/console/keys", f"/console/keys/{key.id}"):
        await browser.get(path)
        with counted(gateway) as statements:
            page = await browser.submit(path, **(typed | wrong))
        assert len(statements) <= QUERIES_MAX
        assert page.status_code == 400
        found = Fields(page)
        assert found.blamed() == blamed
        assert found.values == typed | wrong
        assert "budget-hint" in found.fields["budget"]["aria-describedby"]


@pytest.mark.parametrize("options", [{"sign_ins_per_hour": 1}])
async def test_signing_in(browser: Browser):
    await browser.get("/sign-in")
    page = await browser.submit("/sign-in", email="ada@nowhere", next="/models")
    assert page.status_code == 400
    assert Fields(page).blamed() == "email"
    page = await browser.submit("/sign-in", email="ada@example.org", next="/models")
    assert page.status_code == 429
    assert Fields(page).values == {"email": "ada@example.org"}
    assert "too often" in Fields(page).said()
    assert 'name="next" value="/models"' in page.text


async def test_a_form_sent_twice_sends_one_mail(
    gateway: Gateway, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    now = [1_000_000.0]
    monkeypatch.setattr(forms, "time", SimpleNamespace(time=lambda: now[0]))

    async def mails() -> int:
        return len(await gateway.marketplace.outbox.listed())

    async def twice(page: str, path: str, email: str, **more: str) -> None:
        form = more | {"id": field((await browser.get(page)).text, "id")}
        for to, seconds, expected in (
            (email, 0, 1), (email, 0, 1), (f"other-{email}", 0, 2), (email, 60, 3),
        ):  # fmt: skip
            now[0] += seconds
            await browser.get(page)
            assert (await browser.submit(path, email=to, **form)).status_code == 200
            assert await mails() == before + expected

    before = await mails()
    await twice("/sign-in", "/sign-in", "ada@example.org")
    before = await mails()
    await twice(PATH, "/waitlist", "bob@example.org", model=STELLA)
    await sign_in(browser, gateway, "eve@example.org")
    before = await mails()
    await twice(SETTINGS, f"{SETTINGS}/invite", "guest@example.org")


@pytest.mark.parametrize("options", [{"organization_members_max": 2}])
async def test_the_button_of_a_link(gateway: Gateway, browser: Browser, app: Litestar):
    await sign_in(browser, gateway, "ada@example.org")
    guests = [Browser(app), Browser(app)]
    for guest in guests:
        await browser.get(SETTINGS)
        email = f"guest-{guests.index(guest)}@example.org"
        await browser.submit(f"{SETTINGS}/invite", email=email)
        await guest.get(await mailed_link(gateway, email))
    tokens = [field(guest.page.text, "token") for guest in guests]
    await guests[0].submit("/sign-in/invitation", token=tokens[0])
    assert guests[0].page.url.path == "/console"

    refused = await guests[1].submit("/sign-in/invitation", token=tokens[1])
    assert refused.status_code == 400
    assert "at most 2 members" in Fields(refused).said()
    assert field(refused.text, "token") == tokens[1]  # it is not used up by that
    again = await guests[0].get("/sign-in/link?purpose=invitation&token=" + tokens[0])
    assert again.status_code == 400
    spent = await guests[1].submit("/sign-in/invitation", token=tokens[0])
    assert spent.status_code == 400
    assert "Whoever invited you can send another" in spent.text
    for guest in guests:
        await guest.close()


async def test_the_button_of_a_waitlists_link(gateway: Gateway, browser: Browser):
    await browser.get(PATH)
    await browser.submit("/waitlist", model=STELLA, email="ada@example.org")
    await browser.get(await mailed_link(gateway, "ada@example.org"))
    page = await browser.submit("/waitlist/confirm", token=field(browser.page.text, "token") + "x")
    assert page.status_code == 400
    assert "This link is used up" in page.text
    assert "on the model&#39;s page" in page.text


@pytest.mark.parametrize(
    ("wrong", "blamed", "status"),
    [
        ({"texts_month": "a lot"}, "texts_month", 400),
        ({"text": "x" * 20_001}, "text", 400),
        ({"model": "no/such"}, "", 404),
    ],
)
async def test_the_calculator(browser: Browser, wrong: dict[str, str], blamed: str, status: int):
    await browser.get("/calculator")
    typed = {"model": STELLA, "text": "a text of mine", "texts_month": "1,000"} | wrong
    page = await browser.submit("/calculator", **typed)
    assert page.status_code == status
    found = Fields(page)
    assert (found.values["text"], found.values["texts_month"]) == (
        typed["text"],
        typed["texts_month"],
    )
    assert found.said()
    if blamed:  # a name of a model is chosen here, and typed in a larger catalogue
        assert found.blamed() == blamed


async def test_a_name_of_a_model_is_typed_in_a_large_catalogue(gateway: Gateway, browser: Browser):
    await pages.fill_catalogue(gateway.database, 130)
    await gateway.catalog.refresh()
    await browser.get("/calculator")
    page = await browser.submit("/calculator", model="stella", text="hi", texts_month="1")
    assert page.status_code == 404
    found = Fields(page)
    assert found.values == {"model": "stella", "text": "hi", "texts_month": "1"}
    assert found.blamed() == "model"

    page = await browser.get(f"/compare?model={STELLA}&model=no/such")
    assert page.status_code == 404
    found = Fields(page)
    assert found.values["model"] == "no/such"
    assert found.blamed() == "model"
    assert page.text.count('<th scope="col"><a') == 1


async def test_a_filter(browser: Browser):
    page = await browser.get("/models?q=stella&price=cheap")
    assert page.status_code == 400
    found = Fields(page)
    assert found.values == {"q": "stella", "price": "cheap"}
    assert found.blamed() == "price"
    assert "1 of 2 models" in page.text  # what fits the rest


async def test_sentences(browser: Browser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(playground, "_HOLD_SECONDS", 0.0)
    await browser.get(f"/playground/{MINILM}")
    page = await browser.submit(f"/playground/{MINILM}", sentences="only one")
    assert page.status_code == 400
    found = Fields(page)
    assert found.values == {"sentences": "only one"}
    assert found.blamed() == "sentences"
    page = await browser.submit(f"/playground/{MINILM}", sentences="two\r\nof them")
    assert page.status_code == 503  # no worker is here
    assert Fields(page).values["sentences"].split() == ["two", "of", "them"]
    assert "retry-after" in page.headers
    assert Fields(page).said()


async def test_an_expired_form_keeps_what_was_typed(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    form = {"csrf_token": browser.token, "model": STELLA, "use_case": "<b>mine</b>", "volume": ""}
    browser.http.cookies.delete("session")  # it ended

    async def send() -> httpx.Response:
        browser.page = await browser.http.post("/vote", data=form, headers=FROM_OUR_PAGE)
        return browser.page

    page = await send()
    assert page.status_code == 403
    assert "expired" in page.text
    assert "sign in in another tab" in page.text
    assert Fields(page).values["use_case"].strip() == "<b>mine</b>"
    assert field(page.text, "model") == STELLA
    assert page.text.count('name="csrf_token"') == 1
    form["csrf_token"] = browser.token
    page = await send()  # it needs somebody, and leads nobody away from what they typed
    assert page.status_code == 401
    assert Fields(page).values["use_case"].strip() == "<b>mine</b>"
    form["csrf_token"] = browser.token

    await sign_in(browser, gateway, "ada@example.org")  # in another tab
    page = await send()
    assert page.status_code == 403
    assert "sent as <strong>ada@example.org</strong>" in page.text
    form["csrf_token"] = browser.token
    assert (await send()).url.path == PATH
    (vote,) = await rows(gateway, select(demand_votes))
    assert vote.use_case == "<b>mine</b>"


async def test_a_lost_cookie_keeps_what_was_typed(browser: Browser):
    await browser.get(PATH)
    form = {"csrf_token": browser.token, "model": STELLA, "email": "ada@example.org"}
    browser.http.cookies.clear()
    for expected in (403, 200):
        browser.page = await browser.http.post("/waitlist", data=form, headers=FROM_OUR_PAGE)
        assert browser.page.status_code == expected
        if expected == 403:
            form["csrf_token"] = browser.token
    assert "One more step" in browser.page.text


@pytest.mark.parametrize("header", [{}, {"sec-fetch-site": "cross-site"}])
async def test_what_another_site_sends_is_not_shown(browser: Browser, header: dict[str, str]):
    await browser.get(PATH)
    form = {"csrf_token": "0" * 64, "model": STELLA, "email": "call 555 now"}
    page = await browser.http.post("/waitlist", data=form, headers=header)
    assert page.status_code == 403
    assert "call 555" not in page.text
    assert "Go back, load the page again" in page.text


async def test_our_own_mistake_keeps_what_was_typed(
    gateway: Gateway, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    async def broken(*_: object) -> None:
        raise OSError("gone")

    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    with monkeypatch.context() as patch:
        patch.setattr(votes, "cast", broken)
        page = await browser.submit("/vote", model=STELLA, use_case="mine")
    assert page.status_code == 500
    assert Fields(page).values["use_case"].strip() == "mine"
    for form in (
        {"model": "no/such", "use_case": "mine", "csrf_token": browser.token},
        {"model": STELLA, "use_case": "", "csrf_token": "x"},
    ):  # what would be refused again, and where nothing was typed
        page = await browser.http.post("/vote", data=form, headers=FROM_OUR_PAGE)
        assert page.status_code in (403, 404)
        assert "still here" not in page.text


def test_whatever_is_typed_can_be_kept(pages_folder: Path):
    """A model's name is sent along; and the word that deletes an account is not sent once more."""
    typed = set()
    for template in pages_folder.rglob("templates/**/*.html"):
        for form in re.findall(
            r'<form[^>]*method="post".*?</form>', template.read_text(), re.DOTALL
        ):
            typed |= set(re.findall(r'<input[^>]*?name="(\w+)"[^>]*?type="(?:text|email)"', form))
            typed |= set(re.findall(r'<textarea[^>]*?name="(\w+)"', form))
    assert {"email", "use_case", "text"} < typed
    assert typed - set(error_pages._TYPED) == {"confirm", "model"}


def test_fields_say_what_goes_into_them(pages_folder: Path):
    """So that browsers offer the right thing, and cut nothing that would be read.

    Numbers are bounded by what they are, and a text that is too long is refused, never cut.
    """
    unbounded = set()
    for template in pages_folder.rglob("templates/**/*.html"):
        for tag in re.findall(r"<(?:input|textarea)(?:{{.*?}}|[^>])*>", template.read_text()):
            name = re.search(r' name="(\w+)"', tag)
            if not name or re.search(r'type="(hidden|radio|checkbox|search)"', tag):
                continue
            if "maxlength=" not in tag:
                unbounded.add(name[1])
            assert tag.startswith("<textarea") or "autocomplete=" in tag, (template.name, tag)
    assert unbounded == {"volume", "texts_month", "text", "sentences", "model"}
