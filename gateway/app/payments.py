"""The parts that sell credit, and their jobs; without Stripe's key there are none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from gateway.control_plane.payments import outcomes
from gateway.control_plane.payments.attempts import Attempts
from gateway.control_plane.payments.checkout import Checkout
from gateway.control_plane.payments.customers import Customers
from gateway.control_plane.payments.held_checkouts import HeldCheckouts
from gateway.control_plane.payments.reconciler import Reconciler
from gateway.control_plane.payments.refunds import Refunds
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.sweep import Sweep
from gateway.control_plane.payments.top_up_starts import TopUpStarts
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.wings import Job, Wing

log = structlog.get_logger()

_RECONCILE_SECONDS = 2.0
"""How often to look for due payments that no event in this process has announced."""
_HELD_UP_SECONDS = 5.0
"""How long to wait after Stripe did not answer. Asking again at once, for each event that comes in,
would leave the process too little time for the webhook."""
_SWEEP_SECONDS_MAX = 60.0
"""Longest interval between checks whether a list at Stripe is due."""
_AUTO_TOP_UP_SECONDS = 2.0
_REFUND_SECONDS = 30.0
_HELD_SECONDS = 5.0
"""How often to look for open checkouts of organizations that may not buy."""


@dataclass(frozen=True, kw_only=True)
class Payments:
    """The parts that sell credit."""

    stripe: StripeApi
    customers: Customers
    checkout: Checkout
    held_checkouts: HeldCheckouts
    reconciler: Reconciler
    sweep: Sweep
    auto_top_ups: Attempts
    refunds: Refunds
    wake: asyncio.Event
    """Set when something is due to be reconciled."""


def make_payments(settings: Settings, database: Database) -> Payments | None:
    """Make the parts; nothing connects yet. Without Stripe's key there are none."""
    if not settings.stripe_secret_key:
        return None
    stripe = StripeApi(settings.stripe_secret_key, api_url=settings.stripe_api_url)
    wake = asyncio.Event()
    live, tax, sweep_seconds = (
        settings.stripe_live,
        settings.stripe_tax,
        settings.stripe_sweep_seconds,
    )
    customers = Customers(database, stripe, return_url=f"{settings.public_url}/console/billing")
    reconciler = Reconciler(
        database,
        stripe,
        live=live,
        sweep_seconds=sweep_seconds,
        ended=outcomes.note,
        saved=customers.refresh,
    )
    starts = TopUpStarts(database, live=live, day_max=settings.auto_top_ups_per_day)
    return Payments(
        stripe=stripe,
        customers=customers,
        checkout=Checkout(
            database,
            stripe,
            customers,
            live=live,
            tax=tax,
            sweep_seconds=sweep_seconds,
            product=f"{settings.brand} credit",
            public_url=settings.public_url,
        ),
        held_checkouts=HeldCheckouts(database, stripe),
        reconciler=reconciler,
        sweep=Sweep(database, stripe, seconds=sweep_seconds, wake=wake.set),
        auto_top_ups=Attempts(database, stripe, starts, customers, reconciler, tax=tax),
        refunds=Refunds(database, stripe, reconciler),
        wake=wake,
    )


def warn_of_test_mode(settings: Settings) -> None:
    """Warn where anyone could get credit with Stripe's test cards: what it pays for is real."""
    if settings.stripe_secret_key and not settings.stripe_live and settings.is_https:
        log.warning(
            "Stripe is in test mode: anyone can get credit here with a test card",
            public_url=settings.public_url,
        )


def wing(settings: Settings, database: Database, payments: Payments | None) -> Wing:
    """Return the webhook, mounted only with a secret, and the jobs."""
    if payments is None:
        return Wing("control")
    mounted = []
    if secrets := settings.stripe_webhook_secrets.split():
        from gateway.control_plane.payments.api import webhook  # noqa: PLC0415 - not for commands

        live, wake = settings.stripe_live, payments.wake.set
        mounted.append(webhook(database, secrets, live=live, wake=wake))

    async def reconcile() -> None:
        await payments.reconciler.run()
        if payments.reconciler.is_held_up:
            await asyncio.sleep(_HELD_UP_SECONDS)

    sweep_seconds = min(settings.stripe_sweep_seconds, _SWEEP_SECONDS_MAX)
    return Wing(
        "control",
        mounted,
        jobs=[
            Job("payments", _RECONCILE_SECONDS, reconcile, payments.wake),
            Job("payments-sweep", sweep_seconds, payments.sweep.run),
            Job("auto-top-up", _AUTO_TOP_UP_SECONDS, payments.auto_top_ups.run),
            Job("held-checkouts", _HELD_SECONDS, payments.held_checkouts.run),
            Job("refunds", _REFUND_SECONDS, payments.refunds.run),
        ],
    )
