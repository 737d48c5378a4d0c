"""Stripe's API: the only module that uses the `stripe` package, imported when it is needed.

Whatever goes wrong is one of the three errors in `stripe_failures`. Callers make the idempotency
keys, from rows that outlive the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from gateway.control_plane.payments.stripe_failures import StripeBusy, StripeDown, StripeRefused
from gateway.control_plane.payments.stripe_objects import (
    StripeCharge,
    StripeCustomer,
    StripeDispute,
    StripeIntent,
    StripeMovement,
    StripePaymentMethod,
    StripePortal,
    StripeRefund,
    StripeSession,
    StripeTax,
    StripeWarning,
)

API_VERSION = "2026-10-28.endive"
"""The version that our requests and the webhook endpoints at Stripe are pinned to."""

PAGE_MAX = 100
"""Most objects in one page of a list; Stripe's own limit."""
_PAGES_MAX = 100
CALL_SECONDS = 20.0
"""Longest wait for one answer, from the first byte sent to the last one read."""
_CONNECT_SECONDS = 5.0
_CALLS_AT_ONCE = 8

_CHARGE = ["latest_charge.balance_transaction", "latest_charge.failure_balance_transaction"]
_REFUNDED = ["data.balance_transaction", "data.failure_balance_transaction"]

T = TypeVar("T")


class StripeApi:
    """One account at Stripe. Every method raises StripeFailure."""

    def __init__(
        self, secret_key: str, *, api_url: str, call_seconds: float = CALL_SECONDS
    ) -> None:
        self._secret_key = secret_key
        self._api_url = api_url.rstrip("/")
        self._call_seconds = call_seconds
        self._client: Any = None
        self._http: Any = None
        self._free = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def close(self) -> None:
        """Close the connections, if there are any."""
        if self._http is not None:
            await self._http.close_async()

    async def greet(self) -> None:
        """Read the newest checkout, if any, to see that Stripe answers and accepts the key."""
        await self._ask(self._v1.checkout.sessions.list_async, _Page, {"limit": 1})

    # --- customers and cards

    async def create_customer(self, params: Mapping[str, Any], *, key: str) -> StripeCustomer:
        """Create a customer."""
        return await self._ask(self._v1.customers.create_async, StripeCustomer, params, key=key)

    async def customer(self, customer_id: str) -> StripeCustomer:
        """Read a customer."""
        return await self._read(self._v1.customers, customer_id, StripeCustomer)

    async def payment_method(self, method_id: str) -> StripePaymentMethod:
        """Read a card."""
        return await self._read(self._v1.payment_methods, method_id, StripePaymentMethod)

    async def payment_methods(self, customer_id: str) -> list[StripePaymentMethod]:
        """Return the cards that a customer has saved, the newest first."""
        params = {"customer": customer_id, "type": "card"}
        return await self._list(self._v1.payment_methods, StripePaymentMethod, params)

    async def create_portal(self, customer_id: str, *, return_url: str) -> StripePortal:
        """Open the customer portal, with invoices and cards; its address works for minutes."""
        params = {"customer": customer_id, "return_url": return_url}
        return await self._ask(self._v1.billing_portal.sessions.create_async, StripePortal, params)

    # --- buying

    async def create_session(self, params: Mapping[str, Any], *, key: str) -> StripeSession:
        """Create a checkout."""
        return await self._ask(
            self._v1.checkout.sessions.create_async, StripeSession, params, key=key
        )

    async def session(self, session_id: str) -> StripeSession:
        """Read a checkout, its invoice included."""
        return await self._read(
            self._v1.checkout.sessions, session_id, StripeSession, expand=["invoice"]
        )

    async def sessions(
        self,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        intent_id: str | None = None,
    ) -> list[StripeSession]:
        """Return checkouts, the newest first."""
        params = _created(created_from, created_to)
        if intent_id:
            params["payment_intent"] = intent_id
        return await self._list(self._v1.checkout.sessions, StripeSession, params)

    async def expire_session(self, session_id: str, *, key: str) -> StripeSession:
        """End an open checkout, so that it can't be paid anymore."""
        return await self._ask(
            self._v1.checkout.sessions.expire_async, StripeSession, {}, session_id, key=key
        )

    async def create_intent(self, params: Mapping[str, Any], *, key: str) -> StripeIntent:
        """Create a payment intent, and confirm it if the parameters say so."""
        wanted = {**params, "expand": _CHARGE}
        return await self._ask(self._v1.payment_intents.create_async, StripeIntent, wanted, key=key)

    async def intent(self, intent_id: str) -> StripeIntent:
        """Read a payment intent, with its last charge and that one's balance transactions."""
        return await self._read(self._v1.payment_intents, intent_id, StripeIntent, expand=_CHARGE)

    async def intents(
        self,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        customer_id: str | None = None,
    ) -> list[StripeIntent]:
        """Return payment intents, the newest first."""
        params = _created(created_from, created_to)
        if customer_id:
            params["customer"] = customer_id
        return await self._list(self._v1.payment_intents, StripeIntent, params)

    async def cancel_intent(self, intent_id: str, *, key: str) -> StripeIntent:
        """Cancel a payment intent that has not succeeded."""
        return await self._ask(
            self._v1.payment_intents.cancel_async, StripeIntent, {}, intent_id, key=key
        )

    async def create_tax_calculation(self, params: Mapping[str, Any], *, key: str) -> StripeTax:
        """Calculate the tax of a purchase."""
        return await self._ask(self._v1.tax.calculations.create_async, StripeTax, params, key=key)

    # --- money that goes back

    async def create_refund(self, params: Mapping[str, Any], *, key: str) -> StripeRefund:
        """Give money back."""
        return await self._ask(self._v1.refunds.create_async, StripeRefund, params, key=key)

    async def refunds(self, intent_id: str) -> list[StripeRefund]:
        """Return the refunds of a payment intent, with their balance transactions."""
        params = {"payment_intent": intent_id, "expand": _REFUNDED}
        return await self._list(self._v1.refunds, StripeRefund, params)

    async def disputes(self, intent_id: str) -> list[StripeDispute]:
        """Return the disputes of a payment intent, with their balance transactions."""
        return await self._list(self._v1.disputes, StripeDispute, {"payment_intent": intent_id})

    async def all_refunds(
        self, *, created_from: datetime, created_to: datetime | None = None
    ) -> list[StripeRefund]:
        """Return the refunds of all payments, the newest first."""
        return await self._list(self._v1.refunds, StripeRefund, _created(created_from, created_to))

    async def all_disputes(
        self, *, created_from: datetime, created_to: datetime | None = None
    ) -> list[StripeDispute]:
        """Return the disputes of all payments, the newest first."""
        params = _created(created_from, created_to)
        return await self._list(self._v1.disputes, StripeDispute, params)

    async def all_transactions(
        self, *, created_from: datetime, created_to: datetime | None = None
    ) -> list[StripeMovement]:
        """Return what moved our balance at Stripe, the newest first, with what each is about."""
        params = {**_created(created_from, created_to), "expand": ["data.source"]}
        return await self._list(self._v1.balance_transactions, StripeMovement, params)

    async def all_warnings(
        self, *, created_from: datetime, created_to: datetime | None = None
    ) -> list[StripeWarning]:
        """Return the early fraud warnings of all payments, the newest first."""
        params = _created(created_from, created_to)
        return await self._list(self._v1.radar.early_fraud_warnings, StripeWarning, params)

    async def warning(self, warning_id: str) -> StripeWarning:
        """Read an early fraud warning."""
        return await self._read(self._v1.radar.early_fraud_warnings, warning_id, StripeWarning)

    async def intent_of(self, object_id: str) -> str | None:
        """Return the payment intent that an object belongs to, known only by its id."""
        services = {
            "cs": (self._v1.checkout.sessions, StripeSession),
            "ch": (self._v1.charges, StripeCharge),
            "py": (self._v1.charges, StripeCharge),
            "re": (self._v1.refunds, StripeRefund),
            "pyr": (self._v1.refunds, StripeRefund),
            "dp": (self._v1.disputes, StripeDispute),
            "du": (self._v1.disputes, StripeDispute),
            "issfr": (self._v1.radar.early_fraud_warnings, StripeWarning),
        }
        prefix = object_id.partition("_")[0]
        if prefix == "pi":
            return object_id
        if prefix not in services:
            return None
        service, kind = services[prefix]
        found: Any = await self._read(service, object_id, kind)
        return found.payment_intent  # type: ignore[no-any-return]

    # --- how it is asked

    @property
    def _v1(self) -> Any:
        if self._client is None:
            import stripe  # noqa: PLC0415 - half a second of CPU that only buying needs
            from httpx import Timeout  # noqa: PLC0415

            stripe.enable_telemetry = False
            timeout = Timeout(self._call_seconds, connect=_CONNECT_SECONDS)
            self._http = stripe.HTTPXClient(timeout=timeout)
            self._client = stripe.StripeClient(
                self._secret_key,
                http_client=self._http,
                base_addresses={"api": self._api_url},
                stripe_version=API_VERSION,
                max_network_retries=0,
            )
        return self._client.v1

    async def _read(
        self, service: Any, object_id: str, kind: type[T], *, expand: list[str] | None = None
    ) -> T:
        params = {"expand": expand} if expand else {}
        return await self._ask(service.retrieve_async, kind, params, object_id)

    async def _list(self, service: Any, kind: type[T], params: Mapping[str, Any]) -> list[T]:
        """Read a list to its end. Raises StripeDown for one that is longer than any should be."""
        found: list[T] = []
        wanted = {**params, "limit": PAGE_MAX}
        for _ in range(_PAGES_MAX):
            page = await self._ask(service.list_async, _Page, wanted)
            found += [_convert(item, kind) for item in page.data]
            if not page.has_more or not page.data:
                return found
            wanted["starting_after"] = page.data[-1]["id"]
        raise StripeDown("a list at Stripe has no end", is_answered=True)

    async def _ask(
        self,
        call: Any,
        kind: type[T],
        params: Mapping[str, Any],
        *path: str,
        key: str | None = None,
    ) -> T:
        options = {"idempotency_key": key} if key else {}
        async with self._free:
            answer = await _answered(
                call(*path, params=dict(params), options=options), self._call_seconds
            )
        return _convert(answer.to_dict(), kind)


class _Page(msgspec.Struct, frozen=True):
    data: list[dict[str, Any]]
    has_more: bool = False


async def _answered(call: Awaitable[Any], seconds: float) -> Any:
    """Wait for an answer, and turn the package's errors into ours."""
    import stripe  # noqa: PLC0415 - it was imported by whoever made the call

    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError:
        raise StripeDown("Stripe did not answer in time") from None
    except stripe.APIConnectionError as error:
        raise StripeDown(f"Stripe can't be reached: {_cause(error)}") from None
    except stripe.RateLimitError:
        raise StripeBusy("Stripe takes no more requests at the moment") from None
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        # nothing was done; once an operator has mended it, the same request can succeed
        raise StripeDown(
            f"Stripe does not accept the key, or the key lacks a permission ({error.http_status})"
        ) from None
    except stripe.IdempotencyError as error:
        raise StripeRefused(_message(error), code="idempotency_error", status=400) from None
    except (stripe.CardError, stripe.InvalidRequestError) as error:
        raise _refused(error) from None
    except stripe.StripeError as error:
        if error.http_status == 409:  # the same key is being worked on
            raise StripeBusy(_message(error)) from None
        text = f"Stripe failed ({error.http_status})"
        raise StripeDown(text, is_answered=error.http_status is not None) from None


def _refused(error: Any) -> StripeRefused:
    body = error.json_body.get("error", {}) if isinstance(error.json_body, dict) else {}
    intent = body.get("payment_intent")
    return StripeRefused(
        _message(error),
        code=error.code or "",
        decline_code=body.get("decline_code") or "",
        intent_id=intent.get("id") if isinstance(intent, dict) else intent,
        status=error.http_status or 0,
    )


def _message(error: Any) -> str:
    return str(error.user_message or "no reason given")


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__


def _convert(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = f"an answer of Stripe is not understood: {error}"
        raise StripeDown(text, is_answered=True) from None


def _created(start: datetime | None, end: datetime | None) -> dict[str, Any]:
    """Return the parameter that limits a list to when its objects were created."""
    bounds = {"gte": start, "lt": end}
    given = {name: int(at.timestamp()) for name, at in bounds.items() if at is not None}
    return {"created": given} if given else {}
