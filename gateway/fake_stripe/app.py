"""The ASGI application: the API as the SDK speaks it, the pages for people, and the controls."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from gateway.fake_stripe import answers, controls, operations, pages
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.faults import AFTER, StripeFault
from gateway.fake_stripe.operations import StripeOperation
from gateway.fake_stripe.parameters import TEXT, check, decode
from gateway.fake_stripe.refusals import ApiRefusal
from gateway.fake_stripe.store import API_VERSION, Item, public
from gateway.networks import is_loopback

BODY_BYTES_MAX = 1 << 20

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class FakeStripeApp:
    """Serves one account."""

    def __init__(self, fake: FakeStripe) -> None:
        self.fake = fake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path = str(scope["path"])
        if path.startswith(("/v1/", "/v2/")):
            await self._api(scope, receive, send)
            return
        body = (await _body(receive)).decode()
        sent = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if problem := self._problem(path, sent):
            await _send(send, 403, json.dumps({"error": {"message": problem}}).encode(), {})
        elif path.startswith("/_fake/"):
            status, answer = controls.answer(self.fake, scope["method"], path, body)
            await _send(send, status, json.dumps(answer).encode(), {})
        else:
            page = pages.answer(self.fake, scope["method"], path, body)
            await _send(send, page.status, page.body.encode(), page.headers)

    def _problem(self, path: str, sent: dict[str, str]) -> str:
        """Return why a request isn't answered that another site's page may have made.

        Such a page reaches a port of its reader's machine: under a name of its own, or with a body
        that needs no permission.
        """
        host = urlsplit(f"//{sent.get('host', '')}").hostname or ""
        if not is_loopback(host) and host != urlsplit(self.fake.url).hostname:
            return f"This is not {host}"
        if path.startswith("/_fake/") and sent.get("content-type") != "application/json":
            return "Controls take application/json"
        return ""

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await self.fake.events.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _api(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = operations.find(scope["method"], scope["path"])
        fault = self.fake.faults.take(found[0].name) if found else None
        if fault and fault.kind == "refused":
            await _hang_up(receive, send)
            return
        headers = {"request-id": self.fake.new_id("req"), "stripe-version": API_VERSION}
        sent = {name.decode(): value.decode() for name, value in scope["headers"]}
        form = (await _body(receive)).decode() or scope["query_string"].decode()
        try:
            self._admit(sent)
            status, answer = await _Call(self.fake, _known(found, scope), fault).answer(
                decode(form), sent, headers
            )
        except ApiRefusal as refusal:
            status, answer = refusal.status, dict(refusal.body)
        if fault and fault.kind == "lost":
            await _hang_up(receive, send)
        else:
            await _send(send, status, json.dumps(answer).encode(), headers)

    def _admit(self, sent: dict[str, str]) -> None:
        key = sent.get("authorization", "").removeprefix("Bearer ")
        if key not in self.fake.keys:
            raise ApiRefusal(401, f"Invalid API Key provided: {key[:8]}****")
        if sent.get("stripe-version") != API_VERSION:
            raise ApiRefusal(
                400, f"Invalid Stripe API version: {sent.get('stripe-version')}; pin {API_VERSION}."
            )


class _Call:
    """One call of an operation: faults and idempotency around what it does."""

    def __init__(
        self, fake: FakeStripe, found: tuple[StripeOperation, str], fault: StripeFault | None
    ) -> None:
        self.fake = fake
        self.operation, self.identifier = found
        self.fault = fault
        self.key = ""

    async def answer(
        self, given: Item, sent: dict[str, str], headers: dict[str, str]
    ) -> tuple[int, Item]:
        """Do it once for each key; `headers` get what is to be said beside the answer."""
        checked = check({**self.operation.schema, "expand": [TEXT]}, given)
        self.fake.calls.append((self.operation.name, dict(checked)))
        if self.operation.method == "POST" and "idempotency-key" in sent:
            self.key = headers["idempotency-key"] = sent["idempotency-key"]
            request = (self.operation.name, self.identifier, given)
            kept = self.fake.idempotency.begin(self.key, request, headers["request-id"])
            if kept:
                headers |= {"idempotent-replayed": "true", "original-request": kept.request_id}
                return kept.status, kept.body
        try:
            await self._fail_before()
            status, answer = self._run(checked, headers["request-id"])
            return await self._fail_after(status, answer)
        finally:
            self.fake.idempotency.forget(self.key)

    def _run(self, checked: Item, request_id: str) -> tuple[int, Item]:
        expands = checked.pop("expand", [])
        self.fake.request = {"id": request_id, "idempotency_key": self.key or None}
        try:
            made = public(self.operation.run(self.fake, self.identifier, checked))
            return 200, answers.expand(self.fake, made, expands)
        except ApiRefusal as refusal:
            if not refusal.executed:
                raise
            return refusal.status, dict(refusal.body)
        finally:
            self.fake.request = {"id": None, "idempotency_key": None}

    async def _fail_before(self) -> None:
        match self.fault:
            case StripeFault(kind="busy"):
                raise ApiRefusal(429, "Too many requests.", code="rate_limit")
            case StripeFault(kind="error_before"):
                raise _broken()
            case StripeFault(kind="hang"):
                await self.fake.faults.wait(self.fault)

    async def _fail_after(self, status: int, answer: Item) -> tuple[int, Item]:
        kind = self.fault.kind if self.fault and self.fault.kind in AFTER else ""
        broken = _broken()
        if self.key:
            kept = (broken.status, dict(broken.body)) if kind == "error_kept" else (status, answer)
            self.fake.idempotency.keep(self.key, *kept)
        if kind == "hang_after" and self.fault:
            await self.fake.faults.wait(self.fault)
        if kind in {"error_after", "error_kept"}:
            raise broken
        return status, answer


def _known(found: tuple[StripeOperation, str] | None, scope: Scope) -> tuple[StripeOperation, str]:
    if found is None:
        raise ApiRefusal(404, f"Unrecognized request URL ({scope['method']}: {scope['path']}).")
    return found


def _broken() -> ApiRefusal:
    return ApiRefusal(500, "An unknown error occurred.", type="api_error")


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > BODY_BYTES_MAX or not message.get("more_body"):
            return body[:BODY_BYTES_MAX]


async def _hang_up(receive: Receive, send: Send) -> None:
    """End the connection without a byte: ASGI can't say it, but uvicorn's cycle has the socket."""
    cycle: Any = getattr(send, "__self__")  # noqa: B009
    cycle.transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    named = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
