"""Settings that contradict each other, or that are missing once others use the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

from gateway.cli.checks.findings import Finding, error, ok, warning
from gateway.networks import is_loopback
from gateway.settings import Settings

ABOUT = "settings"


async def agreement(settings: Settings) -> AsyncIterator[Finding]:
    """Compare settings; nothing is contacted."""
    found = [*_sharing(settings), *_signing_in(settings)]
    if not is_loopback(urlsplit(settings.public_url).hostname or ""):
        found += [*_for_others(settings), *_reaching(settings)]
    for finding in found:
        yield finding
    if not found:
        yield ok(ABOUT, "nothing conflicts, and nothing is missing")


def _sharing(settings: Settings) -> Iterator[Finding]:
    if settings.stripe_secret_key and settings.role == "data":
        yield warning(
            ABOUT, "GATEWAY_STRIPE_SECRET_KEY is for the control plane; the data plane needs none"
        )
    if settings.smtp_url and settings.mail_from.endswith("@localhost"):
        yield error(ABOUT, "GATEWAY_MAIL_FROM is at localhost: mail servers refuse such a sender")
    if settings.github_client_id and not settings.github_client_secret:
        yield error(
            ABOUT, "GATEWAY_GITHUB_CLIENT_ID is set, but not its GATEWAY_GITHUB_CLIENT_SECRET"
        )
    if not (settings.admin_port or settings.metrics_token):
        yield warning(
            ABOUT, "nobody can read /metrics: set GATEWAY_ADMIN_PORT or GATEWAY_METRICS_TOKEN"
        )


def _for_others(settings: Settings) -> Iterator[Finding]:
    """Yield what is missing for an address that others use."""
    if not settings.is_https:
        yield error(
            ABOUT,
            f"GATEWAY_PUBLIC_URL is {settings.public_url}: keys and cookies can be read in "
            "transit; use https://",
        )
    elif not settings.trusted_proxies:
        yield warning(
            ABOUT,
            "GATEWAY_TRUSTED_PROXIES is 0, but something in front terminates TLS: all clients have "
            "its address",
        )
    if settings.database_url.startswith("sqlite"):
        yield warning(ABOUT, "DATABASE_URL is SQLite, which is for one machine; use PostgreSQL")
    if settings.stripe_secret_key and not settings.stripe_live:
        yield warning(ABOUT, "GATEWAY_STRIPE_LIVE is false: payments move no money")
    if settings.role != "control" and not settings.journal_path:
        yield warning(
            ABOUT, "GATEWAY_JOURNAL_PATH is not set: it must be on a disk that outlives the process"
        )


def _signing_in(settings: Settings) -> Iterator[Finding]:
    """Yield what is missing for people to sign in, operators included."""
    ways = settings.smtp_url or settings.github_client_id
    if settings.role == "data" or ways or settings.dev_mail:
        return
    if is_loopback(urlsplit(settings.public_url).hostname or ""):
        yield warning(
            ABOUT,
            "nobody can sign in, operators included: set GATEWAY_SMTP_URL, or for a trial "
            "GATEWAY_DEV_MAIL=true, which shows the emails at /dev/mail",
        )
    else:
        yield error(ABOUT, "nobody can sign in: set GATEWAY_SMTP_URL, or GATEWAY_GITHUB_CLIENT_ID")


def _reaching(settings: Settings) -> Iterator[Finding]:
    """Yield what is missing to reach people, and for them to reach us."""
    if settings.role == "data":
        return
    if settings.github_client_id and not settings.smtp_url:
        yield warning(ABOUT, "GATEWAY_SMTP_URL is not set: no email is sent, alerts included")
    if not settings.support:
        yield warning(ABOUT, "GATEWAY_SUPPORT is not set: people have no address to ask for help")
    if settings.what_is_unfilled:
        yield warning(ABOUT, settings.what_is_unfilled)
