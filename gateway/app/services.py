"""The domain objects of one process, and the web kit that its pages are made with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from gateway.app.core import Core
from gateway.app.mails_and_moves import constants, make_mail, make_moves
from gateway.app.needs import sources
from gateway.app.payments import Payments, make_payments
from gateway.app.terms import launch_terms, make_gpu_terms
from gateway.control_plane.accounts.authenticators import Authenticators
from gateway.control_plane.accounts.codes import SignInCodes
from gateway.control_plane.accounts.github import Github
from gateway.control_plane.accounts.head_count import HeadCount
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.link_mails import LinkMails
from gateway.control_plane.accounts.links import MailLinks
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.crossings import Crossings
from gateway.control_plane.alerts.deliverer import Deliverer
from gateway.control_plane.alerts.deliveries import Deliveries
from gateway.control_plane.alerts.endpoints import Endpoints
from gateway.control_plane.alerts.notice_mails import NoticeMails
from gateway.control_plane.alerts.preferences import Preferences
from gateway.control_plane.alerts.signatures import SigningSecrets
from gateway.control_plane.alerts.transport import Transport
from gateway.control_plane.attention.lookout import Lookout
from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.back_office.moves import Moves
from gateway.control_plane.back_office.price_mails import PriceMails
from gateway.control_plane.billing.promotions import Welcome
from gateway.control_plane.catalog import content
from gateway.control_plane.catalog.listings import Shelves
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.demand.launch_mails import LaunchMails
from gateway.control_plane.demand.launch_notices import LaunchNotices
from gateway.control_plane.demand.news import CatalogNews
from gateway.control_plane.demand.race import Race
from gateway.control_plane.demand.standings import Standings
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.mail.waits import MailWaits
from gateway.control_plane.pages.sign_in.github import make_github
from gateway.control_plane.payments.hosted_pages import stripe_pages
from gateway.control_plane.status.api_health import ApiHealth
from gateway.control_plane.status.incidents import Incidents
from gateway.control_plane.status.performance import Performances
from gateway.control_plane.status.served import Served
from gateway.control_plane.web.assets import Assets
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.headers import page_headers
from gateway.control_plane.web.oauth_state import OAuthState
from gateway.control_plane.web.rate_limits import Limit, Quota
from gateway.control_plane.web.rendering import Renderer
from gateway.control_plane.web.visitors import SESSION
from gateway.sealing import Seal
from gateway.settings import Settings

ADDRESSES_PER_HOUR = 60
"""Most webhook addresses that are looked up for an organization's members in an hour."""
MESSAGES_PER_HOUR = 60
"""Most tests and replays of webhooks that an organization's members ask for in an hour."""

ASKS_PER_HOUR = 20
"""Most models that one network asks for by the form in an hour."""

PROOFS_PER_HOUR = 30
"""Most proofs of a second factor that one person tries in an hour: guessing one takes years."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The objects of the control plane's domains."""

    keys: ApiKeys
    security_mails: SecurityMails
    sessions: Sessions
    authenticators: Authenticators
    links: MailLinks
    sign_in_codes: SignInCodes
    link_mails: LinkMails
    github: Github | None
    welcome: Welcome
    outbox: Outbox
    mail_waits: MailWaits
    head_count: HeadCount
    unsubscriptions: Unsubscriptions
    incidents: Incidents
    performances: Performances
    api_health: ApiHealth
    served: Served
    race: Race
    launches: LaunchMails
    launch_notices: LaunchNotices
    preferences: Preferences
    crossings: Crossings
    notice_mails: NoticeMails
    endpoints: Endpoints
    deliveries: Deliveries
    deliverer: Deliverer
    standings: Standings
    news: CatalogNews
    gpu_terms: GpuTerms
    shelves: Shelves
    attention: Lookout
    account_mails: AccountMails
    price_mails: PriceMails
    moves: Moves
    payments: Payments | None
    """None without GATEWAY_STRIPE_SECRET_KEY."""


@dataclass(frozen=True, kw_only=True)
class Web:
    """What pages are built with, and the limits for their visitors."""

    assets: Assets
    renderer: Renderer
    cookie: HostCookie
    """The session's cookie."""
    oauth_state: OAuthState
    calculation_limit: Limit
    experiment_limit: Limit
    experiment_limit_of_all: Limit
    status_limit: Limit
    sign_in_quota: Quota
    vote_quota: Quota
    ask_quota: Quota
    """Limits models that are asked for by the form."""
    invitation_quota: Quota
    address_quota: Quota
    """Limits webhook addresses that are looked up for an organization."""
    message_quota: Quota
    """Limits messages that people have sent to a webhook: tests and replays."""
    purchase_quota: Quota
    factor_quota: Quota
    """Limits proofs of a second factor that one person tries."""


def make_services(core: Core, *, key_changed: Callable[[bytes], Awaitable[None]]) -> Services:
    """Make the domain objects; nothing connects yet. Raises SettingsError."""
    settings, database = core.settings, core.database
    pages = content.reviewed()
    writer, outbox = make_mail(settings, database)
    links = _links(settings)
    codes = SignInCodes(settings.keyring.derive("links"))
    unsubscriptions = Unsubscriptions(
        secret=settings.keyring.derive("unsubscribe"), public_url=settings.public_url
    )

    gpu_terms = make_gpu_terms(settings)
    private_hosts = settings.webhook_private_hosts.split()
    webhook_secrets = SigningSecrets(settings.keyring.derive("webhooks"))

    def is_live(model_id: str) -> bool:
        model = core.catalog().models.get(model_id)
        return model is not None and model.state == "live"

    sold = make_payments(settings, database)
    security_mails = SecurityMails(outbox, writer, public_url=settings.public_url)
    account_mails = AccountMails(outbox, writer, public_url=settings.public_url)
    return Services(
        keys=ApiKeys(database, secret=settings.keyring, announce=key_changed, mails=security_mails),
        security_mails=security_mails,
        sessions=Sessions(
            database,
            secret=settings.keyring.derive("sessions"),
            seconds=settings.session_seconds,
            rotation_seconds=settings.session_rotation_seconds,
        ),
        authenticators=Authenticators(
            Seal(settings.keyring.derive("authenticators")), brand=settings.brand
        ),
        links=links,
        sign_in_codes=codes,
        link_mails=LinkMails(links, codes, outbox, writer, public_url=settings.public_url),
        github=make_github(settings),
        welcome=Welcome(
            secret=settings.keyring,
            credit_nanos=settings.signup_credit_nanos,
            credit_days=settings.signup_credit_days,
            day_nanos=settings.promotion_nanos_per_day,
            share_nanos=settings.promotion_share_nanos_per_day,
        ),
        outbox=outbox,
        mail_waits=MailWaits(database, outbox.lifetimes),
        head_count=HeadCount(database),
        unsubscriptions=unsubscriptions,
        incidents=Incidents(
            database, catalog=core.catalog, patience_seconds=settings.incident_after_seconds
        ),
        performances=Performances(database),
        api_health=ApiHealth(database),
        served=Served(database),
        race=Race(database, core.demand_counts, gpu_terms, core.catalog),
        launches=LaunchMails(
            database,
            outbox,
            writer,
            unsubscriptions,
            launch_terms(settings),
            is_live=is_live,
            titles={model_id: page.title for model_id, page in pages.items()},
            public_url=settings.public_url,
        ),
        launch_notices=LaunchNotices(database, is_live=is_live),
        preferences=Preferences(),
        crossings=Crossings(database),
        notice_mails=NoticeMails(database, outbox, writer, public_url=settings.public_url),
        # names that people type are looked up separately from those that deliveries need
        endpoints=Endpoints(webhook_secrets, Addresses(private_hosts)),
        deliveries=Deliveries(),
        deliverer=Deliverer(database, webhook_secrets, Transport(Addresses(private_hosts))),
        standings=Standings(database),
        news=CatalogNews(database),
        gpu_terms=gpu_terms,
        shelves=Shelves(core.catalog, pages),
        attention=Lookout(database, sources(settings, gpu_terms)),
        account_mails=account_mails,
        price_mails=PriceMails(database, account_mails),
        moves=make_moves(settings, database, sold, account_mails),
        payments=sold,
    )


def make_web(core: Core) -> Web:
    """Make the web kit."""
    settings, secure = core.settings, core.settings.is_https
    assets = Assets()
    shown = {
        "dev_mail": settings.dev_mail,
        "credit": settings.signup_credit_nanos,
        "credit_days": settings.signup_credit_days,
        "github": bool(settings.github_client_id),
        "legal": tuple(
            (place, path.removeprefix("/").capitalize())
            for path, place in settings.legal_pages.items()
        ),
    }
    quota = partial(Quota, core.database, secret=settings.keyring.derive("quotas").first)
    of_networks = partial(quota, of_networks=True)
    return Web(
        assets=assets,
        renderer=Renderer(
            assets,
            constants(settings) | shown,
            page_headers(secure=secure, forms_to=stripe_pages(settings)),
        ),
        cookie=HostCookie(SESSION, secure=secure, seconds=int(settings.session_seconds)),
        oauth_state=OAuthState(secret=settings.keyring.derive("github"), secure=secure),
        calculation_limit=Limit(settings.calculations_per_hour),
        experiment_limit=Limit(settings.experiments_per_hour),
        experiment_limit_of_all=Limit(settings.experiments_in_all_per_hour),
        status_limit=Limit(settings.status_views_per_hour),
        sign_in_quota=of_networks("sign_ins", settings.sign_ins_per_hour),
        ask_quota=of_networks("asks", ASKS_PER_HOUR),
        vote_quota=of_networks("votes", settings.votes_per_hour),
        invitation_quota=quota("invitations", settings.invitations_per_hour),
        address_quota=quota("addresses", ADDRESSES_PER_HOUR),
        message_quota=quota("messages", MESSAGES_PER_HOUR),
        purchase_quota=quota("purchases", settings.purchases_per_hour),
        factor_quota=quota("factors", PROOFS_PER_HOUR),
    )


def _links(settings: Settings) -> MailLinks:
    return MailLinks(
        secret=settings.keyring.derive("links"),
        seconds={
            "sign_in": settings.mail_link_seconds,
            "invitation": settings.mail_invitation_seconds,
            "waitlist": settings.mail_invitation_seconds,
        },
        per_hour=settings.mail_links_per_hour,
        domain_per_hour=settings.mail_domain_links_per_hour,
    )
