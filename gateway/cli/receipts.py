"""`gateway receipts`: checks an answer's x-receipt, with a file, a URL or the database."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import IO

import httpx
import msgspec
import rich_click as click

from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.receipts import published
from gateway.control_plane.receipts.published import PublishedRoot
from gateway.data_plane.metering.proofs import (
    InvalidReceipt,
    VerifiedReceipt,
    decode,
    public_keys,
    verify,
)
from gateway.data_plane.metering.receipts import Receipt, ReceiptSigner
from gateway.errors import BadRequest, Unavailable
from gateway.money import money
from gateway.settings import Settings

_SECONDS = 10.0


class ReceiptNotValid(BadRequest):
    """A receipt that was altered, or that this gateway has not signed."""

    code = "receipt_not_valid"


class GatewayNotAsked(Unavailable):
    """The gateway at --url does not answer, or not as a gateway."""

    code = "gateway_not_asked"


class CheckedReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid receipt says, and how that was checked."""

    receipt: Receipt
    key_id: str
    root_id: str | None
    """None for a receipt that is signed by itself."""
    is_published: bool
    """Whether the log of roots was asked, and has its root."""


class _Published(msgspec.Struct):
    """A root as the API gives it."""

    id: str
    size: int
    root: str
    previous: str
    key_id: str
    signature: str


@click.group("receipts")
def receipts_group() -> None:
    """Receipts: what responses cost, signed."""


@receipts_group.command(
    "verify", epilog="Example: gateway receipts verify receipt.txt --url https://gateway.example"
)
@click.argument("receipt")
@click.option(
    "--key",
    type=click.File("rb"),
    help="A file with the keys from GET /v1/receipts/key; nothing else is read.",
)
@click.option("--url", help="The gateway's address; its keys and its log of roots are read.")
@as_json
@asynchronous
async def verify_receipt(
    receipt: str, *, key: IO[bytes] | None, url: str | None, as_json: bool
) -> None:
    """Check the value of an x-receipt header; - reads it from the input.

    Without --key and --url it is checked with this deployment's own keys and log.
    """
    if key and url:
        raise click.UsageError("With --key, nobody is asked: leave --url out.")
    text = (sys.stdin.read() if receipt == "-" else receipt).strip()
    try:
        if key:
            verified, found = verify(text, public_keys(key.read())), None
        else:
            verified, found = await (_online(text, url) if url else _here(text))
            _hold_against_log(verified, found)
    except InvalidReceipt as error:
        raise ReceiptNotValid(f"The receipt is not valid: {error}.") from error
    checked = CheckedReceipt(
        receipt=verified.receipt,
        key_id=verified.key_id,
        root_id=verified.tree.root_id if verified.tree else None,
        is_published=found is not None,
    )
    if as_json:
        show(checked, as_json=True)
    else:
        _tell(verified, checked)


async def _here(text: str) -> tuple[VerifiedReceipt, PublishedRoot | None]:
    """Check with this deployment's secret and database. Raises InvalidReceipt."""
    signer = ReceiptSigner(*Settings.from_environment().receipt_keyring.all)
    async with opened() as database, database.read() as connection:
        verified = verify(text, await published.keys(connection, signer.publics))
        if verified.tree is None:
            return verified, None
        return verified, await published.root(connection, verified.tree.root_id)


async def _online(text: str, url: str) -> tuple[VerifiedReceipt, PublishedRoot | None]:
    """Check with what a gateway publishes. Raises InvalidReceipt."""
    base = url.rstrip("/").removesuffix("/v1")
    try:
        async with httpx.AsyncClient(base_url=base, timeout=_SECONDS) as client:
            keys = (await client.get("/v1/receipts/key")).raise_for_status()
            verified = verify(text, public_keys(keys.content))
            if verified.tree is None:
                return verified, None
            answer = await client.get(f"/v1/receipts/roots/{verified.tree.root_id}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                return verified, None
            told = msgspec.json.decode(answer.raise_for_status().content, type=_Published)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError) as error:
        raise GatewayNotAsked(f"{base}: {error or type(error).__name__}") from error
    parts = (decode(part) for part in (told.root, told.previous, told.signature))
    root, previous, signature = parts
    return verified, PublishedRoot(told.id, told.size, root, previous, told.key_id, signature)


def _hold_against_log(verified: VerifiedReceipt, found: PublishedRoot | None) -> None:
    tree = verified.tree
    if tree is None:
        return
    if found is None:
        raise InvalidReceipt(
            "it is signed, but the log has no such root; roots are kept as long as the usage that "
            "they cover, so check an old receipt with --key"
        )
    if (found.size, found.previous, found.root) != (tree.size, tree.previous, tree.root):
        raise InvalidReceipt("the log has another root with this id")


def _tell(verified: VerifiedReceipt, checked: CheckedReceipt) -> None:
    told, tree = verified.receipt, verified.tree
    made = datetime.fromtimestamp(told.created_ms / 1000, UTC)
    say(f"Valid: {told.tokens} tokens of {told.model_id} cost {money(int(told.cost_nanos))}.")
    say(f"  request {told.request_id}, {made:%Y-%m-%d %H:%M:%S}Z")
    say(f"  organization {told.organization_id}, key {told.key_id}")
    if tree is None:
        say(f"  signed individually, with the key {checked.key_id}")
        return
    log = ", which the log has" if checked.is_published else ""
    say(f"  number {tree.index + 1} of {tree.size} under the root {tree.root_id}{log}")
    say(f"  signed with the key {checked.key_id}")
