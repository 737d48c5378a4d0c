"""Every setting, its default, its bounds and a sentence: the one place they are declared.

Values come from the environment. `DATABASE_URL` and `REDIS_URL` have the names that platforms give
them, all others start with `GATEWAY_`. A value that doesn't fit is a `SettingsError` that names
the variable; docs/settings.md is printed from here (`gateway settings --markdown`).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_UNPREFIXED = ("database_url", "redis_url")


class SettingsError(Exception):
    """A variable of the environment is missing or out of its bounds."""


def _text(description: str) -> Meta:
    return Meta(description=description)


Role = Literal["all", "data", "control"]
Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one gateway process."""

    role: Annotated[
        Role,
        _text(
            "What this process serves: data, /v1 and health alone; control, the pages and the "
            "background jobs of the deployment; all, both."
        ),
    ] = "all"
    secret: Annotated[
        str,
        Meta(min_length=32),
        _text(
            "Keys the digests of API keys. At least 32 characters, the same for all processes of a "
            "deployment; changing it makes every key unknown."
        ),
    ]
    database_url: Annotated[
        str,
        _text("Where the truth lives: postgresql://user:password@host/name or sqlite:///path."),
    ] = "sqlite:///.data/gateway.db"
    redis_url: Annotated[
        str,
        _text(
            "redis://host:port/0 of a Valkey or Redis that carries revocations and news of workers "
            "to other processes at once. Empty: revocations are read from the database twice a "
            "second."
        ),
    ] = ""
    workers: Annotated[
        str,
        _text(
            "The workers of each model, as MODEL=URL separated by spaces; a model may stand more "
            "than once. URL is http://host:port, unix:/path, or dns+http://host:port for all "
            "addresses behind a name, such as a headless Service."
        ),
    ] = ""
    worker_secret: Annotated[
        str,
        Meta(pattern=r"^(.{32,})?$"),
        _text(
            "Signs the announcements of workers that register themselves at /internal/workers; at "
            "least 32 characters. Empty: there is no such route."
        ),
    ] = ""
    gateways: Annotated[
        Count,
        _text(
            "How many gateways share the workers, where there is no Redis to count them: each "
            "sends its part of what a worker may have in flight."
        ),
    ] = 1
    log_format: Annotated[
        Literal["console", "json"], _text("Log lines for people or for machines.")
    ] = "json"
    public_url: Annotated[
        str, _text("The address that clients use, without a slash at the end.")
    ] = "http://127.0.0.1:8080"

    body_bytes_max: Annotated[Count, _text("Largest request body, in bytes (413).")] = 8_388_608
    inputs_max: Annotated[Count, _text("Most inputs in one request (400).")] = 2_048
    input_characters_max: Annotated[Count, _text("Longest single input (400).")] = 1_000_000
    request_characters_max: Annotated[
        Count, _text("Most characters in one request, all inputs (400).")
    ] = 2_000_000
    request_tokens_max: Annotated[Count, _text("Most tokens in one request (400).")] = 300_000
    counting_threads: Annotated[
        Count, _text("Threads on which the tokens of long requests are counted.")
    ] = 2
    answer_floats_max: Annotated[
        Count, _text("Most numbers in one answer: inputs times dimensions (400).")
    ] = 2_097_152
    request_timeout_seconds: Annotated[
        Seconds, _text("Longest that a request may wait for its vectors (504).")
    ] = 30.0
    replay_seconds: Annotated[
        Seconds, _text("How long an answer is kept for a retry of its request, free.")
    ] = 60.0
    replay_bytes_max: Annotated[
        Count, _text("Most bytes of answers kept for retries in one process.")
    ] = 67_108_864
    replay_waiting_max: Annotated[
        Count,
        _text("Most connections that wait for one request at work, its retries included (429)."),
    ] = 64
    idempotency_key_characters_max: Annotated[
        Count, _text("Longest Idempotency-Key, in characters (400).")
    ] = 255
    in_flight_max: Annotated[Count, _text("Most requests at work in one process (429).")] = 2_048
    organization_in_flight_max: Annotated[
        Count, _text("Most requests of one organization at work in one process (429).")
    ] = 512

    key_cache_entries: Annotated[Count, _text("Most API keys kept in memory.")] = 100_000
    key_cache_seconds: Annotated[
        Seconds, _text("How long a key is trusted before it is read again.")
    ] = 60.0
    key_stale_seconds: Annotated[
        Seconds, _text("How long a known key goes on working while the database is away.")
    ] = 3_600.0
    revocation_poll_seconds: Annotated[
        Seconds, _text("How often changed keys are read from the database.")
    ] = 0.5
    catalog_refresh_seconds: Annotated[
        Seconds, _text("How often models and prices are read again.")
    ] = 2.0
    hold_seconds: Annotated[
        float,
        Meta(ge=0, le=30),
        _text(
            "How long a request is held while no worker of its model is ready, when it doesn't say "
            "so itself (Prefer: wait=N); then 503."
        ),
    ] = 15.0
    hold_seconds_max: Annotated[
        float, Meta(ge=0, le=30), _text("The longest that Prefer: wait=N can ask for.")
    ] = 30.0
    worker_orders_poll_seconds: Annotated[
        Seconds,
        _text("How often `gateway workers` is obeyed, and what is known of workers written down."),
    ] = 1.0
    lease_seconds: Annotated[
        Seconds,
        _text(
            "How long credit stays with a process that says nothing: so long it serves paid "
            "requests while the database is away, and so long its credit is out of reach when it "
            "has died."
        ),
    ] = 90.0
    ledger_away_seconds_max: Annotated[
        Seconds,
        _text(
            "How long usage may not reach the database before /health/ready answers 503. Shorter "
            "than GATEWAY_LEASE_SECONDS it turns away requests that leased credit could pay."
        ),
    ] = 90.0
    lease_slice_nanos: Annotated[
        Count, _text("Credit that a process leases at first; more as it is spent faster.")
    ] = 2_000_000
    lease_slice_nanos_max: Annotated[Count, _text("Most credit that is leased at once.")] = 10**9
    commit_seconds: Annotated[
        Seconds,
        _text("How long an answer waits for the database before the journal makes it durable."),
    ] = 0.05
    credit_wait_seconds: Annotated[
        Seconds, _text("How long a request waits for credit from the database (503).")
    ] = 2.0
    journal_path: Annotated[
        str,
        _text(
            "A folder on a disk that survives the process, for usage that the database could not "
            "take in time. One folder serves one database. Empty: .data/journal, or beside the "
            "SQLite file."
        ),
    ] = ""
    journal_bytes_max: Annotated[
        Count, _text("Most bytes that one process keeps in its journal (503).")
    ] = 268_435_456
    usage_retention_days: Annotated[
        int,
        Meta(ge=32),
        _text("How long single usage rows are kept; their sums by the hour stay."),
    ] = 400
    audit_interval_seconds: Annotated[
        Seconds, _text("How often the invariants of the money are checked.")
    ] = 300.0
    receipts: Annotated[
        bool, _text("Whether every answer carries a signed receipt, x-receipt.")
    ] = True
    database_connections_max: Annotated[
        Count, _text("Most connections of one process to PostgreSQL.")
    ] = 16

    brand: Annotated[str, _text("The name that pages and mails show.")] = "Stella Gateway"
    github_client_id: Annotated[
        str,
        _text(
            "The OAuth application that signs people in by GitHub; its callback there is "
            "GATEWAY_PUBLIC_URL with /sign-in/github/callback. Empty: there is no such way in."
        ),
    ] = ""
    github_client_secret: Annotated[
        str, _text("The application's secret at GitHub; both are needed.")
    ] = ""
    github_url: Annotated[
        str, _text("Where people meet GitHub; an Enterprise server has its own.")
    ] = "https://github.com"
    github_api_url: Annotated[
        str, _text("Where GitHub's REST API is; https://HOST/api/v3 on an Enterprise server.")
    ] = "https://api.github.com"
    support: Annotated[
        str,
        _text(
            "Where people find you: an address of mail, or of a page; it stands at the foot of "
            "each page. Empty: nothing is shown."
        ),
    ] = ""
    smtp_url: Annotated[
        str,
        _text(
            "smtp://user:password@host:587 of the server that takes our mail, smtps:// for TLS "
            "from the first byte. Empty: nobody can sign in, unless GATEWAY_DEV_MAIL is set."
        ),
    ] = ""
    mail_from: Annotated[str, _text("The sender of our mail.")] = "no-reply@localhost"
    dev_mail: Annotated[
        bool,
        _text(
            "For development only: links that sign people in are printed in the log, and every "
            "mail is shown to anybody at /dev/mail."
        ),
    ] = False
    mail_pending_max: Annotated[
        Count,
        _text(
            "Most mails that people wait for and that are not sent yet; over that, asking for one "
            "answers 503."
        ),
    ] = 20_000
    mail_once_seconds: Annotated[
        Seconds,
        _text(
            "How long a launch mail is tried before it is given up; mails with a link are tried "
            "as long as the link lives."
        ),
    ] = 172_800.0
    mail_seconds: Annotated[Seconds, _text("How often the outbox is looked through.")] = 1.0
    mail_links_per_hour: Annotated[
        Count, _text("Most links that are mailed to one address in an hour; more are not sent.")
    ] = 5
    mail_link_seconds: Annotated[
        Seconds, _text("How long a mailed link that signs somebody in can be used.")
    ] = 1_800.0
    mail_invitation_seconds: Annotated[
        Seconds,
        _text(
            "How long an invitation, or a link that confirms a place on a waitlist, can be used."
        ),
    ] = 259_200.0
    session_seconds: Annotated[
        Seconds, _text("How long somebody stays signed in, however active.")
    ] = 2_592_000.0
    session_rotation_seconds: Annotated[
        Seconds, _text("How often a session's cookie is replaced by a new one.")
    ] = 3_600.0
    signup_credit_nanos: Annotated[
        Natural, _text("Free credit for a verified address, once, in nano-dollars.")
    ] = 250_000_000
    signup_credit_days: Annotated[Count, _text("Days until what is left of it expires.")] = 30
    promotion_nanos_per_day: Annotated[
        Natural,
        _text(
            "Most free credit that all sign-ups and launches of one day get, in nano-dollars; "
            "raise it for the day of a launch that many wait for."
        ),
    ] = 50_000_000_000
    launch_credit_nanos: Annotated[
        Natural,
        _text("Credit for organizations that voted or waited for a model, once it is live."),
    ] = 250_000_000
    launch_pending_max: Annotated[
        Count,
        _text("Most launch mails that wait to be sent; those of more people follow as they leave."),
    ] = 20_000
    launch_wave_mails: Annotated[Count, _text("How many launch mails leave together.")] = 500
    launch_wave_seconds: Annotated[Seconds, _text("Time between two waves of launch mails.")] = (
        300.0
    )
    trusted_proxies: Annotated[
        Natural,
        _text(
            "How many proxies of your own stand before the gateway and add to X-Forwarded-For. "
            "Zero: the header is not believed."
        ),
    ] = 0
    form_bytes_max: Annotated[Count, _text("Largest form that a page takes, in bytes (413).")] = (
        131_072
    )
    calculator_characters_max: Annotated[
        Count, _text("Longest text that the price calculator counts.")
    ] = 20_000
    calculations_per_hour: Annotated[
        Count,
        _text("How often an hour one visitor may use the price calculator of one process (429)."),
    ] = 3_600
    experiments_per_hour: Annotated[
        Count, _text("How often an hour one visitor may use the playground of one process (429).")
    ] = 60
    sign_ins_per_hour: Annotated[
        Count, _text("How often an hour one visitor may ask for a sign-in link or open one (429).")
    ] = 120
    votes_per_hour: Annotated[
        Count, _text("How often an hour one visitor may vote or join a waitlist (429).")
    ] = 60
    invitations_per_hour: Annotated[
        Count, _text("How often an hour one organization may invite somebody (429).")
    ] = 20
    organization_keys_max: Annotated[
        Count,
        _text("Most keys of one organization that are not revoked, and that it makes a day (400)."),
    ] = 100
    organization_members_max: Annotated[Count, _text("Most members of one organization (400).")] = (
        100
    )
    answer_entries_max: Annotated[
        Count,
        _text(
            "Most sets of organization, hour, class of status and latency whose answers are "
            "counted between two writes; answers beyond are not counted."
        ),
    ] = 10_000
    answer_write_seconds: Annotated[
        Seconds, _text("How often answers, counted in memory, are written down.")
    ] = 10.0
    answer_retention_days: Annotated[
        Count, _text("How many days the counts of answers are kept; the console shows a month.")
    ] = 92
    demand_entries_max: Annotated[
        Count,
        _text(
            "Most pairs of model and organization whose calls to models that are not live are "
            "counted between two writes; calls beyond are not counted."
        ),
    ] = 10_000
    demand_seconds: Annotated[
        Seconds, _text("How often the public counts of votes are read again.")
    ] = 2.0
    demand_write_seconds: Annotated[
        Seconds, _text("How often views and calls, counted in memory, are written down.")
    ] = 60.0
    demand_retention_days: Annotated[
        Count,
        _text("How many days single events of demand are kept; older ones are sums by the month."),
    ] = 92
    incident_after_seconds: Annotated[
        Seconds,
        _text("How long a live model has no ready worker before the status page shows it."),
    ] = 15.0
    incident_seconds: Annotated[
        Seconds, _text("How often the pools are looked at for the status page.")
    ] = 5.0

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us by TLS, so that cookies are sent by nothing else."""
        return self.public_url.startswith("https://")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings. Raises SettingsError."""
        environment = os.environ if environment is None else environment
        names = {variable(field): field for field in cls.__struct_fields__}
        values = {
            field: environment[name] for name, field in names.items() if environment.get(name)
        }
        if "secret" not in values:
            raise SettingsError(
                "GATEWAY_SECRET is not set: give it 32 or more random characters, for example "
                "from `openssl rand -hex 32`"
            )
        try:
            settings = msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at ")
            name = variable(path.strip("`$. "))
            raise SettingsError(f"{name}: {message.replace('`', '')}") from None
        if settings.dev_mail and settings.is_https:
            raise SettingsError(
                "GATEWAY_DEV_MAIL shows everybody the links that sign people in: it is for "
                "development, and GATEWAY_PUBLIC_URL is not"
            )
        if settings.lease_seconds < 2 * settings.request_timeout_seconds:
            raise SettingsError(
                "GATEWAY_LEASE_SECONDS must be at least twice GATEWAY_REQUEST_TIMEOUT_SECONDS: "
                "a lease has to outlive its requests"
            )
        return settings


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return field.upper() if field in _UNPREFIXED else f"GATEWAY_{field.upper()}"


def derive(secret: str, purpose: str) -> str:
    """Return the deployment's secret for one purpose, so that no two uses share a key."""
    return hmac.digest(secret.encode(), f"gateway|{purpose}".encode(), "sha256").hex()


def describe(settings: Settings | None = None) -> list[tuple[str, str, str]]:
    """List (variable, value, sentence) of every setting, in order: the defaults, or these."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        kind = msgspec.inspect.type_info(field.type)
        description = ""
        if isinstance(kind, msgspec.inspect.Metadata):
            description = (kind.extra_json_schema or {}).get("description", "")
        value = "(required)" if field.required else f"{field.default}"
        if settings is not None:
            value = f"{getattr(settings, field.name)}"
        rows.append((variable(field.encode_name), value, description))
    return rows
