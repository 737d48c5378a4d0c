"""GET /v1/credits, GET /v1/usage and POST /v1/credits/verify.

The structs are what the API answers: their fields are named as in the domain, and renamed for the
wire where that differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Protocol, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromQuery, QueryParameter
from msgspec import Meta, field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import money
from gateway.control_plane.billing import credit
from gateway.control_plane.billing.audit import verify
from gateway.data_plane.auth.authenticator import ScopeMissing
from gateway.data_plane.limits.rates import TooManyReads
from gateway.data_plane.metering.port import FreezeCause
from gateway.errors import BadRequest, Unavailable
from gateway.identifiers import new_id
from gateway.money import Nanos
from gateway.snapshots import KeySnapshot, Scope
from gateway.storage.database import Database
from gateway.storage.ledger import reading
from gateway.wings import CAN_FAIL, Operation, parameter

_VERIFY_READS = 10.0
"""How many ordinary requests one sum over a whole ledger is as dear as."""
T = TypeVar("T")


class Authenticate(Protocol):
    """Tells whose key a request carries, and counts it as so many `reads`."""

    async def __call__(
        self, request: Request[Any, Any, Any], *, scope: Scope, reads: float = 1.0
    ) -> KeySnapshot:
        """Return the key, or raise 401, 403, 429 or 503."""
        ...


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Credit from one source, such as a payment."""

    id: str
    kind: Annotated[
        Literal["promo", "paid"], Meta(description="`promo` is free, `paid` was paid for.")
    ]
    amount_nanos: Annotated[Nanos, Meta(description="The original amount.")]
    remaining_nanos: Annotated[
        Nanos, Meta(description="What is left of it; a charge is deducted at once.")
    ]
    created_at: datetime
    expires_at: Annotated[
        datetime | None, Meta(description="When what is left of it expires; null: never.")
    ]


class CreditsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization may spend. `reserved_nanos` of the balance is with running gateways."""

    object: Literal["credits"] = "credits"
    available_nanos: Annotated[
        Nanos,
        Meta(
            description="What can be spent: the sum of what is left of the grants. In "
            "nano-dollars, like all money here."
        ),
    ] = field(name="balance_nanos")
    reserved_nanos: Annotated[
        Nanos, Meta(description="The part of the balance that gateways hold for requests.")
    ]
    owed_nanos: Annotated[
        Nanos,
        Meta(description="Credit used from payments later reversed; new credit pays it first."),
    ]
    frozen: Annotated[bool, Meta(description="Whether requests are refused: `frozen_by` says why.")]
    frozen_by: Annotated[
        list[FreezeCause],
        Meta(
            description="Why none of it can be used; usually empty: `books` (under review), "
            "`operator` (suspended), `dispute` (a payment is disputed), `owing` (a payment was "
            "reversed after its credit was used). Requests get the error of the first."
        ),
    ]
    lots: Annotated[
        list[Grant],
        Meta(
            description="The grants that have something left, in the order in which they are used."
        ),
    ] = field(name="grants")


class VerifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The balance, and the same recomputed from the ledger."""

    object: Literal["credits.verification"] = "credits.verification"
    agrees: Annotated[bool, Meta(description="Whether both agree.")]
    balance_nanos: Annotated[Nanos, Meta(description="The account's balance.")]
    recomputed_nanos: Annotated[
        Nanos, Meta(description="The ledger's entries, less the usage not posted to it yet.")
    ]
    unposted_nanos: Annotated[Nanos, Meta(description="That usage.")]
    entries: Annotated[
        dict[str, Nanos], Meta(description="The sums of the ledger's entries by kind.")
    ]


class UsageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a key used of a model in a day."""

    day: Annotated[date, Meta(description="A day of UTC.")]
    key_id: Annotated[str, Meta(description="The id of the API key.")]
    model_id: str = field(name="model")
    requests: int
    inputs: int
    tokens: int
    charged_nanos: Annotated[Nanos, Meta(description="What was charged, in nano-dollars.")] = field(
        name="cost_nanos"
    )


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of usage, the newest day first."""

    object: Literal["list"] = "list"
    data: list[UsageEntry]
    next: Annotated[str | None, Meta(description="The `after` of the next page; null at the end.")]


_ID = "0198c2a1-7d3e-7000-8000-5b0f3c1d2e4f"
_ERRORS = (*CAN_FAIL, ScopeMissing, TooManyReads)
OPERATIONS = (
    Operation(
        "/v1/credits",
        "get",
        "readCredits",
        "What is left, and where it came from",
        CreditsAnswer(
            available_nanos=Nanos(249_999_960),
            reserved_nanos=Nanos(0),
            owed_nanos=Nanos(0),
            frozen=False,
            frozen_by=[],
            lots=[
                Grant(
                    id=_ID,
                    kind="promo",
                    amount_nanos=Nanos(250_000_000),
                    remaining_nanos=Nanos(249_999_960),
                    created_at=datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
                    expires_at=datetime(2026, 2, 4, 9, 30, tzinfo=UTC),
                )
            ],
        ),
        errors=_ERRORS,
    ),
    Operation(
        "/v1/credits/verify",
        "post",
        "verifyCredits",
        "Recompute the balance from the ledger",
        VerifyAnswer(
            agrees=True,
            balance_nanos=Nanos(249_999_960),
            recomputed_nanos=Nanos(249_999_960),
            unposted_nanos=Nanos(0),
            entries={"grant": Nanos(250_000_000), "usage": Nanos(-40)},
        ),
        errors=_ERRORS,
    ),
    Operation(
        "/v1/usage",
        "get",
        "readUsage",
        "Usage by day, key and model",
        UsageAnswer(
            data=[
                UsageEntry(
                    day=date(2026, 1, 5),
                    key_id=_ID,
                    model_id="sentence-transformers/all-MiniLM-L6-v2",
                    requests=1,
                    inputs=1,
                    tokens=5,
                    charged_nanos=Nanos(40),
                )
            ],
            next=None,
        ),
        parameters=(
            parameter("after", "The `next` of the page before.", {"type": "string"}),
            parameter(
                "limit",
                "Entries per page.",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
            ),
            parameter("key_id", "Of one key only.", {"type": "string", "format": "uuid"}),
            parameter("model", "Of one model only.", {"type": "string"}),
        ),
        errors=_ERRORS,
    ),
)
"""What the OpenAPI document says of these routes."""


def router(authenticate: Authenticate, database: Database) -> Router:
    """Make the routes, for the organization of the API key that asks."""

    async def owner(request: Request[Any, Any, Any], *, reads: float = 1.0) -> str:
        return (await authenticate(request, scope="read", reads=reads)).organization_id

    @get("/credits")
    async def read_credits(request: Request[Any, Any, Any]) -> Response[bytes]:
        organization_id = await owner(request)
        async with _books(database) as connection:
            found = await credit.balance(connection, organization_id)
        return _answer(_wire(found, CreditsAnswer))

    @post("/credits/verify", status_code=200)
    async def verify_credits(request: Request[Any, Any, Any]) -> Response[bytes]:
        organization_id = await owner(request, reads=_VERIFY_READS)
        async with _books(database) as connection:
            found = await verify(connection, organization_id)
        return _answer(_wire(found, VerifyAnswer))

    @get("/usage")
    async def read_usage(
        request: Request[Any, Any, Any],
        after: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
        key_id: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
    ) -> Response[bytes]:
        organization_id = await owner(request)
        if unknown := set(request.query_params) - {"after", "limit", "key_id", "model"}:
            raise BadRequest("Unknown query parameter.", param=min(unknown))
        async with _books(database) as connection:
            found = await reading.by_day(
                connection,
                organization_id,
                after=None if after is None else _place(after),
                limit=limit,
                key_id=None if key_id is None else _uuid(key_id, "key_id"),
                model_id=None if model is None else _text(model, "model"),
            )
        days = _wire(found, list[UsageEntry])
        following = _cursor(days[-1]) if len(days) == limit else None
        return _answer(UsageAnswer(data=days, next=following))

    return Router("/v1", route_handlers=[read_credits, verify_credits, read_usage])


@asynccontextmanager
async def _books(database: Database) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that reads one consistent snapshot. Raises Unavailable (503)."""
    try:
        async with database.read() as connection:
            if not database.is_sqlite:
                await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            yield connection
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable("The database is temporarily unavailable. Try again.") from error


def _wire(found: object, kind: type[T]) -> T:
    """Copy a domain object into a struct of the API, its ints of money into `Nanos`."""
    return msgspec.convert(found, kind, from_attributes=True, dec_hook=lambda to, value: to(value))


def _cursor(day: UsageEntry) -> str:
    return f"{day.day.isoformat()}~{day.key_id}~{day.model_id}"


def _place(cursor: str) -> reading.Place:
    """Parse `after`, which is the `next` of a page. Raises BadRequest."""
    try:
        day, key_id, model_id = cursor.split("~", 2)
        model_id = _text(model_id, "after")
        return reading.Place(date.fromisoformat(day), _uuid(key_id, "after"), model_id)
    except (ValueError, OverflowError):
        raise BadRequest("`after` must be the `next` of a page.", param="after") from None


def _uuid(value: str, param: str) -> str:
    with contextlib.suppress(ValueError):
        if str(UUID(value)) == value.lower():
            return value.lower()
    raise BadRequest(f"`{param}` must be an id.", param=param)


def _text(value: str, param: str) -> str:
    if "\0" in value:  # PostgreSQL keeps none, so nothing has it in its name
        raise BadRequest(f"`{param}` contains a NUL character.", param=param)
    return value


def _answer(body: msgspec.Struct) -> Response[bytes]:
    headers = {"x-request-id": new_id()}
    return Response(money.encode(body), media_type="application/json", headers=headers)
