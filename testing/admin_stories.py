"""Stories of the back office: which actions one tells, who acts in which browser, what they leave.

An operator has a browser of each kind. What an act leaves is read from the database: entries of the
audit trail, and mails.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeVar, get_args
from urllib.parse import parse_qs, urlsplit

from litestar import Router
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response
from sqlalchemy import select, update

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import OperatorRole, Sessions
from gateway.control_plane.back_office.workers import WorkerAction
from gateway.control_plane.operators import operators
from gateway.control_plane.pages.admin import bulk, workers
from gateway.control_plane.pages.admin.routes import admin_wing
from gateway.control_plane.pages.sign_in import verification
from gateway.control_plane.web.visitors import SESSION
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import outbox, sessions
from testing.back_office import Acted, trail_of
from testing.looks import looks, problems

Kind = Literal["javascript", "plain", "phone"]
"""A browser on a desk, one without JavaScript, and one on a phone."""
Who = OperatorRole | Literal["second"]
"""An operator by their role; `second` is another owner."""
Story = TypeVar("Story", bound=Callable[..., Any])
Result = TypeVar("Result")

_BROWSERS: dict[Kind, dict[str, Any]] = {
    "javascript": {},
    "plain": {"java_script_enabled": False},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}
_DAY_SECONDS = 86_400


def tells(*actions: str) -> Callable[[Story], Story]:
    """Say of a story what it does: some of `actions`."""

    def mark(story: Story) -> Story:
        story.tells = actions  # type: ignore[attr-defined]
        return story

    return mark


def actions() -> set[str]:
    """Return what can be done under /admin: the paths of its forms.

    Where one path does many things, they are told apart: by their own path, or after a `#`.
    """
    wing = Router("/", route_handlers=[*admin_wing().handlers, verification.verify])
    paths = {
        re.sub(r":\w+}", "}", route.path)
        for route in wing.routes
        if route.path.startswith("/admin") and "POST" in getattr(route, "methods", ())
    }
    each = f"{workers.PATH}/{{action}}"
    do = "/admin/bulk/do"
    paths -= {each, do}
    commands = {each.replace("{action}", name) for name in get_args(WorkerAction)}
    return paths | commands | {f"{do}#{name}" for name in bulk.ACTIONS}


class Customer(NamedTuple):
    """An organization with one owner."""

    id: str
    user_id: str
    email: str
    cookie: str


class Left:
    """What a story left behind: entries of the trail, actors by name, and mails by recipient."""

    entries: list[Acted]
    mails: list[tuple[str, str]]


class Office:
    """A running gateway with operators, each with a browser of their own."""

    def __init__(self, chromium: Browser, url: str, database_url: str, secret: str) -> None:
        self.url = url
        self.names: dict[str, str] = {}
        """Who is who: a user's id, and how stories call them."""
        self._chromium = chromium
        self._contexts: dict[tuple[str, Kind], BrowserContext] = {}
        self._cookies: dict[str, str] = {}
        self._pages: dict[Page, Kind] = {}
        self._strangers: list[BrowserContext] = []
        self._complaints: list[str] = []
        self._done: list[tuple[str, str]] = []
        # Playwright holds this thread's event loop
        self._apart = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self.database = Database(database_url, is_patient=True)
        self._sessions = Sessions(
            self.database,
            secret=Keyring(secret).derive("sessions"),
            seconds=_DAY_SECONDS,
            rotation_seconds=_DAY_SECONDS,
        )
        for who in get_args(OperatorRole):
            self._hire(who, who)
        self._hire("second", "owner")

    def close(self) -> None:
        """Close the browsers and the database."""
        for context in self._contexts.values():
            context.close()
        self.run(self.database.close())
        self._apart.submit(self._runner.close).result()
        self._apart.shutdown()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run something that is asynchronous."""
        return self._apart.submit(self._runner.run, coroutine).result()

    @contextmanager
    def story(self, *told: str) -> Iterator[None]:
        """Close the pages at the end; nothing may have gone wrong, and what is told was done."""
        self._done, self._complaints = [], []
        yield
        for opened in (*self._pages, *self._strangers):
            opened.close()
        self._pages, self._strangers = {}, []
        assert self._complaints == []
        untold = [action for action in told if not _is_done(action, self._done)]
        assert untold == [], "the story does not do what it is marked with"

    def page(self, who: Who | Customer, kind: Kind = "javascript") -> Page:
        """Open a page of someone's browser, at the first page of the back office or console."""
        cookie = who.cookie if isinstance(who, Customer) else self._cookies[who]
        page = self._context(cookie, kind).new_page()
        page.goto("/console" if isinstance(who, Customer) else "/admin")
        return self._watched(page, kind)

    def stranger(self, kind: Kind = "javascript") -> Page:
        """Open a page of a browser in which nobody is signed in; the story closes the browser."""
        self._strangers.append(self._new_context(kind))
        return self._watched(self._strangers[-1].new_page(), kind)

    def customer(self, name: str) -> Customer:
        """Make a customer."""
        customer = self.run(self._customer(f"{name}@{name}.example"))
        self.names[customer.user_id] = name
        return customer

    def meet(self, email: str) -> str:
        """Return the id of a user who came by themselves, and name them from now on."""
        user_id = self.run(self._user_id(email))
        self.names[user_id] = email.partition("@")[0]
        return user_id

    @contextmanager
    def watched(self) -> Iterator[Left]:
        """Give what the block leaves behind, once it has ended."""
        before = self.run(self._entries()), self.run(self._mails())
        left = Left()
        yield left
        left.entries = self.run(self._entries())[len(before[0]) :]
        left.mails = [mail for key, mail in self.run(self._mails()).items() if key not in before[1]]

    def proved_at(self, user_id: str, at: datetime) -> None:
        """Change when someone proved a second factor."""
        self.run(self._change_sessions(user_id, verified_at=at))

    def end_sessions(self, user_id: str) -> None:
        """Let all sessions of someone end."""
        self.run(self._change_sessions(user_id, revoked_at=datetime.now(UTC)))

    def look(self, page: Page, slug: str) -> None:
        """Hold a page against axe, which is a script; take pictures where PICTURES is set."""
        kind = self._pages[page]
        if kind == "plain":
            return
        every = [one for one in looks() if kind == "javascript" or "phone" in one.name]
        found = problems(page, f"story-{slug}", every)
        assert [str(one) for one in found if one.impact in {"serious", "critical"}] == []

    def _hire(self, who: Who, role: OperatorRole) -> None:
        made = self.run(self._customer(f"{who}@ops.example", role))
        self.names[made.user_id], self._cookies[who] = who, made.cookie

    async def _customer(self, email: str, role: OperatorRole | None = None) -> Customer:
        async with self.database.write() as connection:
            user = await users.find_or_create(connection, Address(email))
            if role:
                await operators.add(connection, user.id, role)
            cookie = await self._sessions.begin(
                connection,
                user.id,
                user.organization_id,
                verified_at=datetime.now(UTC) if role else None,
            )
        return Customer(user.organization_id, user.id, email, cookie)

    async def _user_id(self, email: str) -> str:
        async with self.database.read() as connection:
            found = await users.id_of(connection, Address(email))
        assert found
        return found

    async def _entries(self) -> list[Acted]:
        return [
            entry._replace(actor=self.names.get(entry.actor or "", entry.actor))
            for entry in await trail_of(self.database)
        ]

    async def _mails(self) -> dict[str, tuple[str, str]]:
        query = select(outbox.c.id, outbox.c.recipient, outbox.c.subject).order_by(outbox.c.id)
        async with self.database.read() as connection:
            return {row.id: (row.recipient, row.subject) for row in await connection.execute(query)}

    async def _change_sessions(self, user_id: str, **columns: datetime) -> None:
        theirs = update(sessions).where(sessions.c.user_id == user_id).values(**columns)
        async with self.database.write() as connection:
            await connection.execute(theirs)

    def _context(self, cookie: str, kind: Kind) -> BrowserContext:
        if (cookie, kind) not in self._contexts:
            context = self._new_context(kind)
            context.add_cookies([{"name": SESSION, "value": cookie, "url": self.url}])
            self._contexts[cookie, kind] = context
        return self._contexts[cookie, kind]

    def _new_context(self, kind: Kind) -> BrowserContext:
        context = self._chromium.new_context(base_url=self.url, **_BROWSERS[kind])
        context.on("response", self._note)
        return context

    def _watched(self, page: Page, kind: Kind) -> Page:
        self._pages[page] = kind
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self._complaints.append(message.text)
                if message.type == "error" and "status of 4" not in message.text
                else None
            ),
        )
        return page

    def _note(self, response: Response) -> None:
        request: Request = response.request
        if request.method == "POST" and response.status < 400:
            self._done.append((urlsplit(request.url).path, request.post_data or ""))


def _is_done(action: str, done: list[tuple[str, str]]) -> bool:
    path, _, name = action.partition("#")
    pattern = re.sub(r"\\\{[^}]*}", "[^/]+", re.escape(path))
    return any(
        re.fullmatch(pattern, sent) and (not name or parse_qs(body).get("action") == [name])
        for sent, body in done
    )
