"""GitHub's side of a sign-in, in a thread: the three endpoints used, as strict as the real ones.

It checks what GitHub documents: the application's id, secret and callback, PKCE, codes that work
once, tokens with a scope. What goes wrong on purpose is an attribute.
"""

import asyncio
import base64
import hashlib
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

from aiohttp import web

from testing.servers import free_port

CLIENT_ID = "Iv1.0123456789abcdef"
CLIENT_SECRET = "github-secret-of-the-application"


@dataclass
class Person:
    """The person who signs in."""

    number: int
    emails: list[dict[str, Any]] = field(default_factory=list)


def person(number: int, email: str, *, verified: bool = True) -> Person:
    """Make a person with a primary address and an old one."""
    old = {"email": f"old-{email}", "primary": False, "verified": True, "visibility": None}
    main = {"email": email, "primary": True, "verified": verified, "visibility": "private"}
    return Person(number, [old, main])


class Github:
    """The server; `status` and `body` are what the API answers instead, by path."""

    def __init__(self, callback: str) -> None:
        self.callback = callback
        self.person = person(1, "ada@example.org")
        self.denied = False
        self.asks = False
        self.instead: dict[str, tuple[int, bytes]] = {}
        self.exchanges = 0
        self._codes: dict[str, tuple[str, Person]] = {}
        self._tokens: dict[str, Person] = {}
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._started = threading.Event()
        self._stop = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def settings(self) -> dict[str, str]:
        """What a gateway must be told to use it."""
        return {
            "github_client_id": CLIENT_ID,
            "github_client_secret": CLIENT_SECRET,
            "github_url": self.url,
            "github_api_url": self.url,
        }

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        right = (
            query.get("client_id") == CLIENT_ID
            and query.get("redirect_uri") == self.callback
            and query.get("code_challenge_method") == "S256"
            and "user:email" in query.get("scope", "").split()
            and len(query.get("state", "")) >= 16
        )
        if not right:
            return web.Response(status=404, text="no such application")
        if self.asks and "answer" not in query:
            yes = "?" + urlencode({**query, "answer": "yes"})
            page = f'<!doctype html><title>GitHub</title><a href="{yes}">Authorize</a>'
            return web.Response(text=page.replace("&", "&amp;"), content_type="text/html")
        if self.denied:
            answer = {"error": "access_denied", "error_description": "The user has denied"}
        else:
            answer = {"code": secrets.token_hex(10)}
            self._codes[answer["code"]] = (query["code_challenge"], self.person)
        location = f"{self.callback}?{urlencode({**answer, 'state': query['state']})}"
        return web.Response(status=302, headers={"location": location})

    async def _access_token(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.exchanges += 1
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"error": "incorrect_client_credentials"})
        if form.get("redirect_uri") != self.callback:
            return web.json_response({"error": "redirect_uri_mismatch"})
        challenge, who = self._codes.pop(str(form.get("code")), ("", None))
        proof = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        if who is None or base64.urlsafe_b64encode(proof).rstrip(b"=").decode() != challenge:
            return web.json_response({"error": "bad_verification_code"})
        token = f"gho_{secrets.token_hex(18)}"
        self._tokens[token] = who
        return web.json_response(
            {"access_token": token, "token_type": "bearer", "scope": "user:email"}
        )

    async def _user(self, request: web.Request) -> web.Response:
        who = self._tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if who is None:
            return web.json_response({"message": "Bad credentials"}, status=401)
        if request.path == "/user/emails":
            return web.json_response(who.emails)
        return web.json_response({"id": who.number, "login": f"user-{who.number}", "email": None})

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path in self.instead:
            status, body = self.instead[request.path]
            return web.Response(status=status, body=body, content_type="application/json")
        answer: web.StreamResponse = await handler(request)
        return answer

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._faults])
        app.router.add_get("/login/oauth/authorize", self._authorize)
        app.router.add_post("/login/oauth/access_token", self._access_token)
        app.router.add_get("/user", self._user)
        app.router.add_get("/user/emails", self._user)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
