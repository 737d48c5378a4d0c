"""All settings of one process, read from the environment and checked together.

An invalid value raises a `SettingsError` that names the variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Self, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec.inspect import Metadata, type_info

from gateway import selling
from gateway.keyring import Keyring
from gateway.networks import is_loopback
from gateway.settings.accounts import AccountSettings
from gateway.settings.addresses import AddressSettings
from gateway.settings.catalog import CatalogSettings
from gateway.settings.connections import ConnectionSettings
from gateway.settings.database import DatabaseSettings
from gateway.settings.declaring import SettingsError, variable
from gateway.settings.keys import KeySettings
from gateway.settings.legal import LegalSettings
from gateway.settings.mail import MailSettings
from gateway.settings.metering import MeteringSettings
from gateway.settings.pages import PageSettings
from gateway.settings.payments import PaymentSettings
from gateway.settings.process import ProcessSettings
from gateway.settings.requests import RequestSettings
from gateway.settings.secrets import guessable, mistakes, read_secrets
from gateway.settings.status import StatusSettings
from gateway.settings.workers import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class Settings(
    ProcessSettings,
    DatabaseSettings,
    AddressSettings,
    ConnectionSettings,
    RequestSettings,
    KeySettings,
    WorkerSettings,
    MeteringSettings,
    CatalogSettings,
    AccountSettings,
    MailSettings,
    PageSettings,
    StatusSettings,
    PaymentSettings,
    LegalSettings,
):
    """The settings of one gateway process."""

    @property
    def receipt_keyring(self) -> Keyring:
        """The secrets that receipts' keys are made from."""
        return Keyring.parse(self.receipt_secret) if self.receipt_secret else self.keyring

    @property
    def terms_address(self) -> str:
        """The whole address of the terms; empty if there are none."""
        place = self.legal_pages.get("/terms", "")
        return f"{self.public_url}{place}" if place.startswith("/") else place

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from environment variables. Raises SettingsError."""
        environment = os.environ if environment is None else environment
        names = {variable(field.name): field.name for field in fields(cls)}
        values = {
            field: environment[name] for name, field in names.items() if environment.get(name)
        }
        values |= read_secrets(environment, SECRETS)
        if "secret" not in values:
            raise SettingsError(
                "GATEWAY_SECRET is not set: give it 32 or more random characters, for example "
                "from `gateway secrets generate`"
            )
        try:
            settings = msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at ")
            name = variable(path.strip("`$. "))
            raise SettingsError(f"{name}: {message.replace('`', '')}") from None
        for mistake in _mistakes(settings):
            raise SettingsError(mistake)
        return settings


def describe(settings: Settings | None = None) -> list[tuple[str, str, str]]:
    """Return (variable, value, sentence) of every setting, in order: the defaults, or these."""
    rows = []
    for field, kind in _declared():
        description = (kind.extra_json_schema or {}).get("description", "")
        value = "(required)" if field.default is MISSING else f"{field.default}"
        if settings is not None:
            value = f"{getattr(settings, field.name)}"
        rows.append((variable(field.name), value, description))
    return rows


def _declared() -> Iterator[tuple[Field[object], Metadata]]:
    """Yield every setting, part by part."""
    for part in Settings.__bases__:
        hints = get_type_hints(part, include_extras=True)
        for field in fields(part):
            kind = type_info(hints[field.name])
            assert isinstance(kind, Metadata)
            yield field, kind


SECRETS = tuple(field.name for field, kind in _declared() if (kind.extra or {}).get("secret"))
"""Settings that may come from a file: the variable NAME_FILE holds its path."""


def _mistakes(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the settings together, each in a sentence."""
    for field in ("secret", "worker_secret", "receipt_secret"):
        yield from mistakes(field, getattr(settings, field))
    yield from guessable("metrics_token", settings.metrics_token)
    if settings.dev_mail and not is_loopback(urlsplit(settings.public_url).hostname or ""):
        yield (
            "GATEWAY_DEV_MAIL shows sign-in links to everyone; it is for development only, on "
            "this machine, and GATEWAY_PUBLIC_URL names another host"
        )
    if urlsplit(settings.admin_address).hostname != urlsplit(settings.public_url).hostname:
        yield (
            "GATEWAY_ADMIN_URL must have the same host as GATEWAY_PUBLIC_URL: cookies belong to "
            "one host"
        )
    if settings.lease_seconds < 2 * settings.request_timeout_seconds:
        yield (
            "GATEWAY_LEASE_SECONDS must be at least twice GATEWAY_REQUEST_TIMEOUT_SECONDS: "
            "a lease must outlive its requests"
        )
    for field in ("terms", "privacy"):
        if (place := getattr(settings, field)) and not selling.is_page(place):
            yield f"{variable(field)} must be an address that starts with https:// or http://"
    sold = msgspec.convert(settings, selling.Selling, from_attributes=True)
    yield from selling.mistakes(
        msgspec.structs.replace(sold, seller=settings.seller_words, terms=settings.terms_address)
    )
