"""Every setting with its default, its bounds and a sentence: the only place they are declared.

Values come from the environment. `DATABASE_URL` and `REDIS_URL` have the names that platforms give
them; all others start with `GATEWAY_`. An invalid value raises a `SettingsError` that names the
variable; docs/settings.md is printed from here (`gateway settings --markdown`). A secret may be in
a file instead, which NAME_FILE names.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from gateway import selling
from gateway.networks import is_loopback

_DISTINCT_MIN = 10
"""How many characters of a secret differ at least, as those of 32 random bytes in hex do."""
_UNPREFIXED = ("database_url", "redis_url")
SECRETS = (
    "secret",
    "database_url",
    "migration_database_url",
    "redis_url",
    "worker_secret",
    "metrics_token",
    "github_client_secret",
    "smtp_url",
    "stripe_secret_key",
    "stripe_webhook_secrets",
)
"""Settings that may come from a file: the variable NAME_FILE holds its path."""


class SettingsError(Exception):
    """An environment variable is missing or out of bounds."""


def _text(description: str) -> Meta:
    return Meta(description=description)


Role = Literal["all", "data", "control"]
Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one gateway process."""

    role: Annotated[
        Role, _text("data serves /v1 and health, control the pages and background jobs, all both.")
    ] = "all"
    secret: Annotated[
        str,
        Meta(min_length=32),
        _text("At least 32 characters, one for all processes. A new one invalidates every key."),
    ]
    database_url: Annotated[
        str, _text("The database: postgresql://user:password@host/name or sqlite:///path.")
    ] = "sqlite:///.data/gateway.db"
    migration_database_url: Annotated[
        str,
        _text(
            "The same database, for `gateway migrate` alone, as the role that owns the schema. The "
            "role of DATABASE_URL then needs no right but to connect. Empty: that of DATABASE_URL."
        ),
    ] = ""
    redis_url: Annotated[
        str,
        _text(
            "redis://host:port/0 of a Valkey or Redis that carries revocations and news of workers "
            "between processes. Empty: revocations are polled from the database."
        ),
    ] = ""
    workers: Annotated[
        str,
        _text(
            "The workers of each model: MODEL=URL, separated by spaces; a model may appear more "
            "than once. URL is http://host:port, unix:/path, or dns+http://host:port for every "
            "address of a name, such as a headless Service. Other engines: docs/engines.md."
        ),
    ] = ""
    worker_secret: Annotated[
        str,
        Meta(pattern=r"^(.{32,})?$"),
        _text(
            "Makes the key of each worker (`gateway workers key URL`), with which workers on other "
            "machines prove who they are, and register themselves at /internal/workers; at least "
            "32 characters. Empty: there are no such workers, and no such route."
        ),
    ] = ""
    worker_ca: Annotated[
        str,
        _text(
            "File (PEM) of the one authority whose certificates workers at https:// may have; it "
            "is read again when it changes. Empty: those that the system trusts."
        ),
    ] = ""
    worker_networks: Annotated[
        str,
        _text(
            "Networks, separated by spaces, in which workers may be that register themselves. "
            "Never there: link-local and metadata addresses, and the gateway's own."
        ),
    ] = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7"
    gateways: Annotated[
        Count, _text("How many gateways share the workers, if there is no Redis to count them.")
    ] = 1
    processes: Annotated[
        Count, _text("How many processes each of them has; `gateway run --processes` sets it.")
    ] = 1
    siblings: Annotated[
        str,
        _text("The folder where these processes meet; `gateway run --processes` makes it."),
    ] = ""
    log_format: Annotated[Literal["console", "json"], _text("Logs for people or for machines.")] = (
        "json"
    )
    public_url: Annotated[str, _text("The address that clients use, without a trailing slash.")] = (
        "http://127.0.0.1:8080"
    )
    admin_url: Annotated[
        str,
        _text(
            "The address that operators use for the back office, without a trailing slash, at the "
            "host of GATEWAY_PUBLIC_URL. Empty: GATEWAY_PUBLIC_URL, or its host at "
            "GATEWAY_ADMIN_PORT."
        ),
    ] = ""
    admin_port: Annotated[
        int,
        Meta(ge=0, le=65_535),
        _text(
            "The port of a second listener, which alone serves /admin (404 at the public one), and "
            "/metrics without a token. Zero: there is none."
        ),
    ] = 0
    metrics_token: Annotated[
        str,
        _text(
            "What monitoring sends (`Authorization: Bearer`) for /metrics, and for the details of "
            "/health/ready, on the public port. Empty: the second listener alone has them."
        ),
    ] = ""
    admin_host: Annotated[str, _text("Where that listener listens.")] = "127.0.0.1"

    connections_max: Annotated[Count, _text("Most connections to one process (503).")] = 10_000
    pipelined_max: Annotated[
        Count, _text("Most requests that wait on one connection for the answer before them (400).")
    ] = 32
    head_bytes_max: Annotated[
        Count, _text("Most bytes in the line and headers of a request (431).")
    ] = 32_768
    headers_max: Annotated[Count, _text("Most headers of a request (431).")] = 100
    head_seconds: Annotated[
        Seconds, _text("How long the line and headers of a request may take to come (408).")
    ] = 10.0
    body_seconds: Annotated[Seconds, _text("How long a body may take to come (408).")] = 60.0
    client_bytes_per_second_min: Annotated[
        Count,
        _text(
            "Slowest rate of a client, in bytes per second: of a body after its first 5 seconds "
            "(408), and of the reading of an answer after GATEWAY_UNREAD_SECONDS."
        ),
    ] = 16_384
    unread_seconds: Annotated[
        Seconds, _text("How long a client may leave its answer unread; then the connection ends.")
    ] = 30.0
    keep_alive_seconds: Annotated[
        Seconds,
        _text(
            "How long a connection may rest between requests; longer than that of a proxy in "
            "front, which would else reuse one that is being closed."
        ),
    ] = 75.0
    body_bytes_max: Annotated[Count, _text("Largest request body, in bytes (413).")] = 4_194_304
    bodies_bytes_max: Annotated[
        Count, _text("Most bytes of bodies in one process, of all requests in flight (429).")
    ] = 268_435_456
    organization_bodies_bytes_max: Annotated[
        Count, _text("The same, of one organization (429).")
    ] = 67_108_864
    inputs_max: Annotated[Count, _text("Most inputs in one request (400).")] = 2_048
    input_characters_max: Annotated[Count, _text("Longest single input (400).")] = 1_000_000
    request_characters_max: Annotated[Count, _text("Most characters in a request (400).")] = (
        2_000_000
    )
    request_tokens_max: Annotated[Count, _text("Most tokens in one request (400).")] = 300_000
    counting_threads: Annotated[Count, _text("Threads that count the tokens of long requests.")] = 2
    answer_floats_max: Annotated[Count, _text("Most numbers, inputs times dimensions (400).")] = (
        2_097_152
    )
    request_timeout_seconds: Annotated[Seconds, _text("Longest wait for the vectors (504).")] = 30.0
    replay_seconds: Annotated[Seconds, _text("How long an answer is kept for a free retry.")] = 60.0
    replay_bytes_max: Annotated[
        Count, _text("Most bytes kept for retries in a process, shared between organizations.")
    ] = 67_108_864
    abandoned_requests: Annotated[
        Count,
        _text(
            "An organization pays for answers that nobody waits for if in ten minutes it has more "
            "of them than this, with more than `abandoned_tokens_share` of its tokens."
        ),
    ] = 100
    abandoned_tokens_share: Annotated[Share, _text("See `abandoned_requests`.")] = 0.05
    replay_waiting_max: Annotated[
        Count, _text("Most connections waiting for one request, retries included (429).")
    ] = 64
    idempotency_key_characters_max: Annotated[Count, _text("Longest Idempotency-Key (400).")] = 255
    in_flight_max: Annotated[Count, _text("Most requests in flight in one process (429).")] = 2_048
    organization_in_flight_max: Annotated[Count, _text("The same, of one organization (429).")] = (
        512
    )

    key_cache_entries: Annotated[Count, _text("Most API keys kept in memory.")] = 100_000
    key_cache_seconds: Annotated[Seconds, _text("How long a key is used before it is reread.")] = (
        60.0
    )
    key_stale_seconds: Annotated[Seconds, _text("How long keys work without the database.")] = (
        3_600.0
    )
    key_wait_seconds: Annotated[
        Seconds, _text("How long a request waits for the database to tell an unknown key (503).")
    ] = 0.25
    key_retry_seconds: Annotated[
        Seconds, _text("How long the database is not asked for keys after it did not answer.")
    ] = 2.0
    unknown_keys_per_minute: Annotated[
        Count,
        _text(
            "Unknown keys that clients of one network (/24, or /48 of IPv6) may try, where keys of "
            "version 0.1 are in use (429)."
        ),
    ] = 120
    revocation_poll_seconds: Annotated[Seconds, _text("How often changed keys are read.")] = 0.5
    catalog_refresh_seconds: Annotated[
        Seconds, _text("How often models and prices are reread.")
    ] = 2.0
    hold_seconds: Annotated[
        float,
        Meta(ge=0, le=30),
        _text(
            "How long a request waits while no worker of its model is ready, unless it says so "
            "itself (Prefer: wait=N); then 503."
        ),
    ] = 15.0
    hold_seconds_max: Annotated[
        float, Meta(ge=0, le=30), _text("Longest wait that Prefer can ask for.")
    ] = 30.0
    fatal_input_seconds: Annotated[
        Seconds,
        _text(
            "How long each process refuses an input that cost two workers; by its digest, whoever "
            "sends it and with whatever else."
        ),
    ] = 600.0
    worker_orders_poll_seconds: Annotated[
        Seconds, _text("How often orders of `gateway workers` are read and reports written.")
    ] = 1.0
    lease_seconds: Annotated[
        Seconds,
        _text(
            "How long a process keeps its leased credit without reaching the database. It serves "
            "paid requests until then; a dead process's credit is unavailable until then."
        ),
    ] = 90.0
    ledger_away_seconds_max: Annotated[
        Seconds,
        _text(
            "How long usage may fail to reach the database before /health/ready answers 503. Below "
            "GATEWAY_LEASE_SECONDS, requests that leased credit could pay are turned away."
        ),
    ] = 90.0
    lease_slice_nanos: Annotated[
        Count, _text("Credit leased at first; more as it is spent faster.")
    ] = 2_000_000
    lease_slice_nanos_max: Annotated[Count, _text("Most credit leased at once.")] = 10**9
    commit_seconds: Annotated[
        Seconds, _text("How long an answer waits for the database before the journal is used.")
    ] = 0.05
    gather_seconds: Annotated[
        float,
        Meta(ge=0, le=0.02),
        _text(
            "The least time from one transaction of usage to the next. Above 0, requests that come "
            "faster share one, which spares the database and makes their answers that much later."
        ),
    ] = 0.0
    credit_wait_seconds: Annotated[
        Seconds, _text("How long a request waits for credit from the database (503).")
    ] = 2.0
    journal_path: Annotated[
        str,
        _text(
            "A folder on a disk that outlives the process, for usage that the database could not "
            "take in time; one per database. Empty: .data/journal, or beside the SQLite file."
        ),
    ] = ""
    journal_bytes_max: Annotated[Count, _text("Most bytes in one process's journal (503).")] = (
        268_435_456
    )
    usage_retention_days: Annotated[
        int, Meta(ge=32), _text("How long single usage rows are kept; hourly sums stay.")
    ] = 400
    audit_interval_seconds: Annotated[Seconds, _text("How often the ledger is audited.")] = 300.0
    receipts: Annotated[bool, _text("Whether answers carry a signed receipt, x-receipt.")] = True
    database_connections_max: Annotated[
        Count, _text("Most PostgreSQL connections per process.")
    ] = 16

    brand: Annotated[str, _text("The name shown on pages and in mails.")] = "Stella Gateway"
    github_client_id: Annotated[
        str,
        _text(
            "The OAuth application for signing in with GitHub; its callback there is "
            "GATEWAY_PUBLIC_URL/sign-in/github/callback. Empty: no GitHub sign-in."
        ),
    ] = ""
    github_client_secret: Annotated[str, _text("The application's secret at GitHub.")] = ""
    github_url: Annotated[
        str, _text("GitHub's address for people; an Enterprise server has its own.")
    ] = "https://github.com"
    github_api_url: Annotated[
        str, _text("GitHub's REST API; https://HOST/api/v3 on an Enterprise server.")
    ] = "https://api.github.com"
    support: Annotated[
        str, _text("A mail address or page shown at the foot of every page. Empty: none.")
    ] = ""
    smtp_url: Annotated[
        str,
        _text(
            "The server that sends our mail: smtp://user:password@host:587, or smtps:// for TLS "
            "from the first byte. A server that isn't on this machine must offer STARTTLS; for a "
            "relay without it, on a network of your own, add ?tls=opportunistic. Empty: nobody can "
            "sign in by mail, unless GATEWAY_DEV_MAIL is set."
        ),
    ] = ""
    mail_from: Annotated[str, _text("The sender of our mail.")] = "no-reply@localhost"
    dev_mail: Annotated[
        bool, _text("For development: sign-in links are logged, and /dev/mail shows all mails.")
    ] = False
    mail_pending_max: Annotated[
        Count,
        _text(
            "Most unsent mails that people wait for, and as many to addresses without an account; "
            "beyond it, 503."
        ),
    ] = 20_000
    mail_senders: Annotated[
        Count, _text("How many mails each process hands over at the same time.")
    ] = 4
    mail_domain_links_per_hour: Annotated[
        Count,
        _text(
            "Links mailed to addresses without an account at one domain; those of large mailbox "
            "providers are not counted. Beyond it none is sent."
        ),
    ] = 200
    mail_once_seconds: Annotated[
        Seconds,
        _text(
            "How long a launch mail or an alert is retried; others, as long as their link is valid."
        ),
    ] = 172_800.0
    mail_seconds: Annotated[Seconds, _text("How often the outbox is checked.")] = 1.0
    mail_links_per_hour: Annotated[Count, _text("Most links mailed to an address per hour.")] = 5
    mail_link_seconds: Annotated[Seconds, _text("How long a sign-in link is valid.")] = 1_800.0
    mail_invitation_seconds: Annotated[
        Seconds, _text("How long an invitation, or a waitlist confirmation link, is valid.")
    ] = 259_200.0
    session_seconds: Annotated[Seconds, _text("How long a session lasts.")] = 2_592_000.0
    session_rotation_seconds: Annotated[Seconds, _text("How often a session's cookie changes.")] = (
        3_600.0
    )
    signup_credit_nanos: Annotated[
        Natural, _text("Free credit for a verified address, once, in nano-dollars.")
    ] = 250_000_000
    signup_credit_days: Annotated[Count, _text("Days until unused sign-up credit expires.")] = 30
    promotion_nanos_per_day: Annotated[
        Natural, _text("Most free credit per day, in nano-dollars; raise it for a large launch.")
    ] = 50_000_000_000
    promotion_share_nanos_per_day: Annotated[
        Natural,
        _text(
            "Most free credit per day to new accounts of one network, a /24 or a /48, or of one "
            "mail domain that is no mailbox provider's; in nano-dollars."
        ),
    ] = 10_000_000_000
    approval_dollars: Annotated[
        Natural,
        _text(
            "Above this, an operator's grant, taking or refund waits for a second operator, or for "
            "24 hours where there is none."
        ),
    ] = 100
    operator_dollars_per_day: Annotated[
        Natural,
        _text("What one operator may move in a UTC day alone; the rest waits for a second one."),
    ] = 250
    launch_credit_nanos: Annotated[
        Natural, _text("Credit for organizations that voted or waited for a model that launches.")
    ] = 250_000_000
    launch_pending_max: Annotated[
        Count, _text("Most launch mails waiting to be sent; the rest are queued as these leave.")
    ] = 20_000
    launch_wave_mails: Annotated[Count, _text("How many launch mails are sent together.")] = 500
    launch_wave_seconds: Annotated[Seconds, _text("Time between waves of launch mails.")] = 300.0
    price_notice_days: Annotated[
        Natural,
        _text("How many days ahead a price must be raised, where someone used the model lately."),
    ] = 30
    gpu_nanos_per_hour: Annotated[
        Natural,
        _text("What one GPU costs an hour, in nano-dollars: would a wanted model pay for it?"),
    ] = 2_000_000_000
    webhook_private_hosts: Annotated[
        str,
        _text(
            "Exact hosts, separated by spaces, that webhooks may be sent to although they are "
            "private, by plain http too; for development and tests, not in live mode. Empty: "
            "public addresses alone."
        ),
    ] = ""
    trusted_proxies: Annotated[
        Natural, _text("How many of your own proxies add to X-Forwarded-For. Zero: it is ignored.")
    ] = 0
    form_bytes_max: Annotated[Count, _text("Largest form of a page, in bytes (413).")] = 131_072
    calculator_characters_max: Annotated[Count, _text("Longest text to calculate a price of.")] = (
        20_000
    )
    calculations_per_hour: Annotated[
        Count, _text("Calculations per visitor and process (429).")
    ] = 3_600
    experiments_in_all_per_hour: Annotated[
        Count, _text("Playground requests of all visitors together, per process (429).")
    ] = 6_000
    experiments_per_hour: Annotated[
        Count, _text("Playground requests per visitor and process (429).")
    ] = 60
    sign_ins_per_hour: Annotated[
        Count, _text("Sign-in links asked for or opened per visitor (429).")
    ] = 120
    reads_per_minute: Annotated[
        Count,
        _text(
            "Requests for models, credit, usage and the like per API key and process (429); one to "
            "verify the credit counts as ten."
        ),
    ] = 300
    estimates_per_minute: Annotated[Count, _text("Estimates per API key and process (429).")] = 600
    status_views_per_hour: Annotated[
        Count, _text("Views of the status page per visitor and process (429).")
    ] = 3_600
    votes_per_hour: Annotated[Count, _text("Votes and waitlist requests per visitor (429).")] = 60
    invitations_per_hour: Annotated[Count, _text("Invitations per organization (429).")] = 20
    organization_keys_max: Annotated[
        Count, _text("Most unrevoked keys of one organization, and most it creates per day (400).")
    ] = 100
    organization_members_max: Annotated[Count, _text("Most members per organization (400).")] = 100
    answer_entries_max: Annotated[
        Count,
        _text(
            "Most distinct sets of organization, hour, status class and latency counted between "
            "two writes; answers beyond it are not counted."
        ),
    ] = 10_000
    answer_write_seconds: Annotated[Seconds, _text("How often counts of answers are written.")] = (
        10.0
    )
    answer_retention_days: Annotated[
        Count, _text("How many days counts of answers are kept; the console shows a month.")
    ] = 92
    demand_entries_max: Annotated[
        Count,
        _text(
            "Most pairs of model and organization whose calls to models that are not live are "
            "counted between two writes; calls beyond it are not counted."
        ),
    ] = 10_000
    demand_seconds: Annotated[Seconds, _text("How often vote counts are reread.")] = 2.0
    demand_write_seconds: Annotated[Seconds, _text("How often views and calls are written.")] = 60.0
    demand_retention_days: Annotated[
        Count, _text("How many days single demand events are kept; older ones are monthly sums.")
    ] = 92
    incident_after_seconds: Annotated[
        Seconds, _text("How long a live model has no ready worker before the status page says so.")
    ] = 15.0
    incident_seconds: Annotated[
        Seconds, _text("How often pools are checked for the status page.")
    ] = 5.0

    stripe_secret_key: Annotated[
        str,
        _text(
            "A secret or restricted key of Stripe (docs/payments.md lists what it must be allowed "
            "to do). Empty: nobody can buy, and `gateway credits grant` remains."
        ),
    ] = ""
    stripe_webhook_secrets: Annotated[
        str,
        _text(
            "The signing secrets of the endpoint at Stripe that calls "
            "GATEWAY_PUBLIC_URL/webhooks/stripe, separated by spaces: two while one is replaced. "
            "Empty: no such route, and payments are found by the buyer's return and the sweep."
        ),
    ] = ""
    stripe_api_url: Annotated[
        str, _text("Where Stripe's API is; in test mode, a double of it may be elsewhere.")
    ] = selling.STRIPE_API_URL
    stripe_live: Annotated[
        bool,
        _text(
            "Whether payments move money. The key must be of the same mode; live mode also needs "
            "GATEWAY_SELLER, GATEWAY_TERMS, GATEWAY_SUPPORT and an https GATEWAY_PUBLIC_URL."
        ),
    ] = False
    stripe_sweep_seconds: Annotated[
        Seconds,
        _text("How often payments that are not finished are read at Stripe, whatever events say."),
    ] = 600.0
    stripe_tax: Annotated[
        bool, _text("Whether Stripe Tax adds tax to what is bought; it must be set up there.")
    ] = True
    purchases_per_hour: Annotated[
        Count,
        _text("Purchases begun, and visits to Stripe's customer portal, per organization (429)."),
    ] = 60
    auto_top_ups_per_day: Annotated[
        Count, _text("Most auto top-ups that an organization starts in 24 hours, declined or not.")
    ] = 8
    seller: Annotated[
        str, _text("Who sells the credit, with the postal address; shown where it is bought.")
    ] = ""
    terms: Annotated[str, _text("The address of the terms of sale; linked where it is bought.")] = (
        ""
    )

    @property
    def admin_address(self) -> str:
        """Where operators open the back office."""
        if self.admin_url or not self.admin_port:
            return self.admin_url or self.public_url
        public = urlsplit(self.public_url)
        return f"{public.scheme}://{public.hostname}:{self.admin_port}"

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us by TLS, so that cookies are sent by nothing else."""
        return self.public_url.startswith("https://")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from environment variables. Raises SettingsError."""
        environment = os.environ if environment is None else environment
        names = {variable(field): field for field in cls.__struct_fields__}
        values = {
            field: environment[name] for name, field in names.items() if environment.get(name)
        }
        values |= _from_files(environment, values)
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
        for field in ("secret", "worker_secret", "metrics_token"):
            value = values.get(field, "")
            if value and len(set(value)) < _DISTINCT_MIN:
                raise SettingsError(
                    f"{variable(field)} is easy to guess: it repeats a few characters. Make one "
                    "with `openssl rand -hex 32`"
                )
        if settings.dev_mail and not is_loopback(urlsplit(settings.public_url).hostname or ""):
            raise SettingsError(
                "GATEWAY_DEV_MAIL shows sign-in links to everyone; it is for development only, on "
                "this machine, and GATEWAY_PUBLIC_URL names another host"
            )
        if urlsplit(settings.admin_address).hostname != urlsplit(settings.public_url).hostname:
            raise SettingsError(
                "GATEWAY_ADMIN_URL must have the host of GATEWAY_PUBLIC_URL: cookies are one host's"
            )
        if settings.lease_seconds < 2 * settings.request_timeout_seconds:
            raise SettingsError(
                "GATEWAY_LEASE_SECONDS must be at least twice GATEWAY_REQUEST_TIMEOUT_SECONDS: "
                "a lease must outlive its requests"
            )
        concerned = msgspec.convert(settings, selling.Selling, from_attributes=True)
        for mistake in selling.mistakes(concerned):
            raise SettingsError(mistake)
        return settings


def _from_files(environment: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Read the secrets that are in files. Raises SettingsError."""
    found = {}
    for field in SECRETS:
        name = f"{variable(field)}_FILE"
        path = environment.get(name)
        if not path:
            continue
        if field in values:
            raise SettingsError(f"{name}: {variable(field)} is set too; use one of them")
        try:
            found[field] = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise SettingsError(f"{name}: {path} can't be read: {reason}") from None
    return found


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return field.upper() if field in _UNPREFIXED else f"GATEWAY_{field.upper()}"


def derive(secret: str, purpose: str) -> str:
    """Return the deployment's secret for one purpose, so that no two uses share a key."""
    return hmac.digest(secret.encode(), f"gateway|{purpose}".encode(), "sha256").hex()


def describe(settings: Settings | None = None) -> list[tuple[str, str, str]]:
    """Return (variable, value, sentence) of every setting, in order: the defaults, or these."""
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
