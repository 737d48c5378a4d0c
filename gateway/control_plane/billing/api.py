"""GET /v1/credits, GET /v1/usage, POST /v1/credits/verify and the key of receipts.

For the organization of the API key that asks. Money is in strings of nano-dollars.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromQuery, QueryParameter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import credit
from gateway.control_plane.billing.verification import verify
from gateway.data_plane.api.openapi import Operation
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.errors import BadRequest, Unavailable
from gateway.identifiers import new_id
from gateway.snapshots import KeySnapshot
from gateway.storage.database import Database
from gateway.storage.ledger import reading


class CreditsUnreadable(Unavailable):
    """The books can't be read at the moment."""


Authenticate = Callable[[str | None], Awaitable[KeySnapshot]]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Credit that came in at once."""

    id: str
    kind: Literal["promo", "paid"]
    amount_nanos: str
    remaining_nanos: str
    created_at: datetime
    expires_at: datetime | None


class CreditsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization may spend. `reserved_nanos` of the balance is with running gateways."""

    object: Literal["credits"] = "credits"
    balance_nanos: str
    reserved_nanos: str
    owed_nanos: str
    frozen: bool
    grants: list[Grant]


class VerifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The balance, and the same worked out from the ledger."""

    object: Literal["credits.verification"] = "credits.verification"
    agrees: bool
    balance_nanos: str
    recomputed_nanos: str
    unposted_nanos: str
    entries: dict[str, str]


class ReceiptKey(msgspec.Struct, frozen=True, kw_only=True):
    """The public key of receipts, as a JSON Web Key (RFC 8037)."""

    kty: str
    crv: str
    alg: str
    use: str
    kid: str
    x: str


class UsageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a key used of a model on a day of UTC."""

    day: date
    key_id: str
    model: str
    requests: int
    inputs: int
    tokens: int
    cost_nanos: str


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of days, the newest first; `next` is the `after` of the next page, null at the end."""

    object: Literal["list"] = "list"
    data: list[UsageEntry]
    next: str | None


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


OPERATIONS = (
    Operation(
        "/v1/credits", "get", "readCredits", "What is left and where it came from", CreditsAnswer
    ),
    Operation(
        "/v1/credits/verify", "post", "verifyCredits", "Recompute the balance from the ledger",
        VerifyAnswer,
    ),
    Operation(
        "/v1/usage", "get", "readUsage", "Usage by day, key and model", UsageAnswer,
        (
            _query("after", {"type": "string"}, "The `next` of the page before."),
            _query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
                "Entries a page.",
            ),
            _query("key_id", {"type": "string", "format": "uuid"}, "Of one key only."),
            _query("model", {"type": "string"}, "Of one model only."),
        ),
    ),
    Operation(
        "/v1/receipts/key", "get", "readReceiptKey", "The key that checks receipts", ReceiptKey,
        public=True,
    ),
)  # fmt: skip
"""What the OpenAPI document says of these routes."""


def router(authenticate: Authenticate, database: Database, signer: ReceiptSigner) -> Router:
    """Make the routes."""

    async def owner(request: Request[Any, Any, Any]) -> str:
        return (await authenticate(request.headers.get("authorization"))).organization_id

    @get("/credits")
    async def read_credits(request: Request[Any, Any, Any]) -> Response[CreditsAnswer]:
        organization_id = await owner(request)
        async with _books(database) as connection:
            return _answer(_credits(await credit.balance(connection, organization_id)))

    @post("/credits/verify", status_code=200)
    async def verify_credits(request: Request[Any, Any, Any]) -> Response[VerifyAnswer]:
        organization_id = await owner(request)
        async with _books(database) as connection:
            found = await verify(connection, organization_id)
        return _answer(
            VerifyAnswer(
                agrees=found.agrees,
                balance_nanos=str(found.balance_nanos),
                recomputed_nanos=str(found.recomputed_nanos),
                unposted_nanos=str(found.unposted_nanos),
                entries={kind: str(nanos) for kind, nanos in found.entries.items()},
            )
        )

    @get("/usage")
    async def read_usage(
        request: Request[Any, Any, Any],
        after: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
        key_id: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
    ) -> Response[UsageAnswer]:
        organization_id = await owner(request)
        if unknown := set(request.query_params) - {"after", "limit", "key_id", "model"}:
            raise BadRequest("There is no such parameter.", param=min(unknown))
        async with _books(database) as connection:
            days = await reading.by_day(
                connection,
                organization_id,
                after=None if after is None else _place(after),
                limit=limit,
                key_id=None if key_id is None else _uuid(key_id, "key_id"),
                model_id=None if model is None else _text(model, "model"),
            )
        following = _cursor(days[-1]) if len(days) == limit else None
        return _answer(UsageAnswer(data=[_entry(day) for day in days], next=following))

    @get("/receipts/key", sync_to_thread=False)
    def read_key() -> Response[ReceiptKey]:
        return _answer(msgspec.convert(signer.jwk(), ReceiptKey))

    return Router("/v1", route_handlers=[read_credits, verify_credits, read_usage, read_key])


@asynccontextmanager
async def _books(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection that sees one moment. Raises CreditsUnreadable (503)."""
    try:
        async with database.read() as connection:
            if not database.is_sqlite:
                await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            yield connection
    except (SQLAlchemyError, OSError) as error:
        raise CreditsUnreadable("The books can't be read at the moment. Try again.") from error


def _credits(balance: credit.Balance) -> CreditsAnswer:
    return CreditsAnswer(
        balance_nanos=str(balance.available_nanos),
        reserved_nanos=str(balance.reserved_nanos),
        owed_nanos=str(balance.owed_nanos),
        frozen=balance.frozen,
        grants=[
            Grant(
                id=lot.id,
                kind=lot.kind,
                amount_nanos=str(lot.amount_nanos),
                remaining_nanos=str(lot.remaining_nanos),
                created_at=lot.created_at,
                expires_at=lot.expires_at,
            )
            for lot in balance.lots
        ],
    )


def _entry(day: reading.UsageDay) -> UsageEntry:
    return UsageEntry(
        day=day.day,
        key_id=day.key_id,
        model=day.model_id,
        requests=day.requests,
        inputs=day.inputs,
        tokens=day.tokens,
        cost_nanos=str(day.charged_nanos),
    )


def _cursor(day: reading.UsageDay) -> str:
    return f"{day.day.isoformat()}~{day.key_id}~{day.model_id}"


def _place(cursor: str) -> reading.Place:
    try:
        day, key_id, model_id = cursor.split("~", 2)
        model_id = _text(model_id, "after")
        return reading.Place(date.fromisoformat(day), _uuid(key_id, "after"), model_id)
    except (ValueError, OverflowError):
        raise BadRequest("`after` is not the `next` of a page.", param="after") from None


def _uuid(value: str, param: str) -> str:
    with contextlib.suppress(ValueError):
        if str(UUID(value)) == value.lower():
            return value.lower()
    raise BadRequest(f"`{param}` is no id.", param=param)


def _text(value: str, param: str) -> str:
    if "\0" in value:  # PostgreSQL keeps none, so nothing has it in its name
        raise BadRequest(f"`{param}` has a NUL character in it.", param=param)
    return value


def _answer(body: Any) -> Response[Any]:
    return Response(body, headers={"x-request-id": new_id()})
