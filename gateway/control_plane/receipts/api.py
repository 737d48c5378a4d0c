"""GET /v1/receipts/key, /v1/receipts/roots and /v1/receipts/roots/{id}: public, without a key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Meta
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.receipts import published
from gateway.data_plane.limits.rates import TooManyReads
from gateway.data_plane.metering import receipts
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.errors import BadRequest, NotFound, Unavailable
from gateway.identifiers import is_id, made_at_ms, new_id
from gateway.storage.database import Database
from gateway.wings import Operation, parameter


class ReceiptKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key of receipts, as a JSON Web Key (RFC 8037)."""

    kty: str
    crv: str
    alg: str
    use: str
    kid: Annotated[str, Meta(description="The key's id.")]
    x: Annotated[str, Meta(description="The public key, in unpadded base64url.")]


class ReceiptKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that check receipts, as a JSON Web Key set: the current one first."""

    keys: list[ReceiptKey]


class ReceiptRoot(msgspec.Struct, frozen=True, kw_only=True):
    """The signed root of the tree of receipts that were charged together. Bytes are base64url."""

    object: Literal["receipt.root"] = "receipt.root"
    id: Annotated[str, Meta(description="A UUIDv7; receipts name it.")]
    created_at: datetime
    size: Annotated[int, Meta(description="How many receipts the tree has.")]
    root: Annotated[str, Meta(description="The root (RFC 6962).")]
    previous: Annotated[
        str,
        Meta(
            description="The SHA-256 of the statement of the previous root in its chain (one "
            "chain per gateway process); 32 zero bytes for the first."
        ),
    ]
    key_id: Annotated[str, Meta(description="The `kid` of the key that signed it.")]
    signature: Annotated[str, Meta(description="An Ed25519 signature of the root's statement.")]


class ReceiptRoots(msgspec.Struct, frozen=True, kw_only=True):
    """A page of roots, the oldest first."""

    object: Literal["list"] = "list"
    data: list[ReceiptRoot]
    next: Annotated[str | None, Meta(description="The `after` of the next page; null at the end.")]


class RootNotFound(NotFound):
    """There is no root of receipts with this id.

    Roots are kept as long as the usage that they cover.
    """

    code = "root_not_found"
    remedy = "Check the receipt with the key alone, which always works."


_ROOT = ReceiptRoot(
    id="0198c2a1-7d3e-7000-8000-5b0f3c1d2e4f",
    created_at=datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
    size=3,
    root="PmWBLyAVmXGaz1YJzBtNjwSmsPwB5OJ8nQNPTmYe5Hc",
    previous="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    key_id="1f2e3d4c5b6a7980",
    signature="t3CBmZfrhDHVHX2Vbm4mDbpKk3Ge6Yz3u8xJ6i1oX3dYb8eJ2m4nP5q6r7s8t9u0v1w2x3y4z5A6B7C8D9E0Fw",
)
RECEIPT_OPERATIONS = (
    Operation(
        "/v1/receipts/key",
        "get",
        "readReceiptKeys",
        "The keys that check receipts",
        ReceiptKeys(
            keys=[
                ReceiptKey(
                    kty="OKP",
                    crv="Ed25519",
                    alg="EdDSA",
                    use="sig",
                    kid="1f2e3d4c5b6a7980",
                    x="11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                )
            ]
        ),
        errors=(TooManyReads, Unavailable),
        key="none",
    ),
    Operation(
        "/v1/receipts/roots",
        "get",
        "listReceiptRoots",
        "The public log of receipts",
        ReceiptRoots(data=[_ROOT], next=None),
        parameters=(
            parameter("after", "The id of a root; lists the roots after it.", {"type": "string"}),
            parameter(
                "limit",
                "Roots per page.",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
            ),
        ),
        errors=(BadRequest, TooManyReads, Unavailable),
        key="none",
    ),
    Operation(
        "/v1/receipts/roots/{id}",
        "get",
        "readReceiptRoot",
        "The root of a receipt",
        _ROOT,
        parameters=(
            parameter(
                "id",
                "The root's id.",
                {"type": "string", "format": "uuid"},
                place="path",
                required=True,
            ),
        ),
        errors=(RootNotFound, TooManyReads, Unavailable),
        key="none",
    ),
)
"""What the OpenAPI document says of these routes."""


def receipt_routes(
    database: Database, signer: ReceiptSigner, count: Callable[[Request[Any, Any, Any]], None]
) -> Router:
    """Make the routes, which need no key; `count` raises TooManyReads (429)."""

    @get("/key")
    async def read_keys(request: Request[Any, Any, Any]) -> Response[bytes]:
        count(request)
        async with _reading(database) as connection:
            keys = await published.keys(connection, signer.publics)
        found = [msgspec.convert(receipts.jwk(key), ReceiptKey) for key in keys]
        return _answer(ReceiptKeys(keys=found))

    @get("/roots")
    async def list_roots(
        request: Request[Any, Any, Any],
        after: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    ) -> Response[bytes]:
        count(request)
        if unknown := set(request.query_params) - {"after", "limit"}:
            raise BadRequest("Unknown query parameter.", param=min(unknown))
        if after is not None and not is_id(after):
            raise BadRequest("`after` must be the id of a root.", param="after")
        async with _reading(database) as connection:
            found = await published.roots(connection, after=after, limit=limit)
        following = found[-1].id if len(found) == limit else None
        return _answer(ReceiptRoots(data=[_wire(root) for root in found], next=following))

    @get("/roots/{root_id:str}")
    async def read_root(request: Request[Any, Any, Any], root_id: FromPath[str]) -> Response[bytes]:
        count(request)
        found = None
        if is_id(root_id):
            async with _reading(database) as connection:
                found = await published.root(connection, root_id)
        if found is None:
            raise RootNotFound("There is no root with this id; old ones are not kept.")
        return _answer(_wire(found))

    return Router("/v1/receipts", route_handlers=[read_keys, list_roots, read_root])


@asynccontextmanager
async def _reading(database: Database) -> AsyncIterator[AsyncConnection]:
    """Yield a connection. Raises Unavailable (503)."""
    try:
        async with database.read() as connection:
            yield connection
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable("The database is temporarily unavailable. Try again.") from error


def _wire(root: published.PublishedRoot) -> ReceiptRoot:
    return ReceiptRoot(
        id=root.id,
        created_at=datetime.fromtimestamp(made_at_ms(root.id) / 1000, UTC),
        size=root.size,
        root=receipts.encode(root.root),
        previous=receipts.encode(root.previous),
        key_id=root.key_id,
        signature=receipts.encode(root.signature),
    )


def _answer(body: msgspec.Struct) -> Response[bytes]:
    headers = {"x-request-id": new_id()}
    return Response(msgspec.json.encode(body), media_type="application/json", headers=headers)
