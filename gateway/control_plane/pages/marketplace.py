"""The marketplace around the endpoint: its parts made, its jobs, and its routes.

`app.py` makes one, and knows no more of pages than this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, Router

from gateway.control_plane.accounts import links, sessions
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.links import MailLinks
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.billing.welcome import Welcome
from gateway.control_plane.catalog import content
from gateway.control_plane.catalog.listings import Shelves
from gateway.control_plane.demand import events
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.launch_mails import LaunchMails, LaunchTerms
from gateway.control_plane.mail import upkeep
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Lifetimes, Outbox
from gateway.control_plane.mail.smtp import LogSender, NullSender, Sender, SmtpSender
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.pages import routes
from gateway.control_plane.pages.parts import Site
from gateway.control_plane.pages.sign_in.github import make_github
from gateway.control_plane.status import answers as answer_hours
from gateway.control_plane.status.answers import Answered
from gateway.control_plane.status.incidents import Incidents
from gateway.control_plane.web import error_pages, rate_limits
from gateway.control_plane.web.assets import Assets
from gateway.control_plane.web.oauth_state import Errands
from gateway.control_plane.web.rate_limits import Limit, Quota
from gateway.control_plane.web.rendering import Renderer
from gateway.control_plane.web.visitors import SessionCookie
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.data_plane.routing.router import Router as WorkRouter
from gateway.data_plane.tallies import AnswerTally, DemandTally
from gateway.errors import GatewayError
from gateway.settings import Settings, derive
from gateway.snapshots import Catalog
from gateway.storage.database import Database
from gateway.wings import Job

_FORGET_SECONDS = 3600.0
_FOLDS_MAX = 50


class Marketplace:
    """The parts of one process."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        catalog: Callable[[], Catalog],
        keys: ApiKeys,
        counters: Mapping[str, TokenCounter],
        router: WorkRouter,
        calls: DemandTally,
        answers: AnswerTally,
    ) -> None:
        self._settings = settings
        self._database = database
        self._assets = Assets()
        constants = {
            "brand": settings.brand,
            "public_url": settings.public_url,
            "support": contact(settings.support),
        }
        github = make_github(settings)
        shown = {
            "dev_mail": settings.dev_mail,
            "credit": settings.signup_credit_nanos,
            "github": github is not None,
        }
        secure = settings.public_url.startswith("https://")
        quota = partial(Quota, database, secret=derive(settings.secret, "quotas"))
        self.interest = DemandCounts(database, calls)
        self.answered = Answered(database, answers)
        self.outbox = make_outbox(settings, database)
        words = content.reviewed()
        self.site = Site(
            settings=settings,
            database=database,
            catalog=catalog,
            pages=words,
            shelf=Shelves(catalog, words),
            counters=counters,
            router=router,
            workers=router.statuses,
            renderer=Renderer(self._assets, constants | shown),
            incidents=Incidents(
                database, catalog=catalog, patience_seconds=settings.incident_after_seconds
            ),
            keys=keys,
            sessions=Sessions(
                database,
                secret=derive(settings.secret, "sessions"),
                seconds=settings.session_seconds,
                rotation_seconds=settings.session_rotation_seconds,
            ),
            cookie=SessionCookie(secure=secure, seconds=settings.session_seconds),
            links=MailLinks(
                secret=derive(settings.secret, "links"),
                seconds={
                    "sign_in": settings.mail_link_seconds,
                    "invitation": settings.mail_invitation_seconds,
                    "waitlist": settings.mail_invitation_seconds,
                },
                per_hour=settings.mail_links_per_hour,
            ),
            github=github,
            errands=Errands(settings.secret, secure=secure),
            welcome=Welcome(
                secret=derive(settings.secret, "welcome"),
                credit_nanos=settings.signup_credit_nanos,
                credit_days=settings.signup_credit_days,
                day_nanos=settings.promotion_nanos_per_day,
            ),
            writer=MailWriter(constants),
            outbox=self.outbox,
            unsubscriptions=Unsubscriptions(
                secret=derive(settings.secret, "unsubscribe"), public_url=settings.public_url
            ),
            calculations=Limit(settings.calculations_per_hour),
            experiments=Limit(settings.experiments_per_hour),
            sign_ins=quota("sign_ins", settings.sign_ins_per_hour),
            votes=quota("votes", settings.votes_per_hour),
            invitations=quota("invitations", settings.invitations_per_hour),
            interest=self.interest,
        )
        self.announcements = make_announcements(self.site)

    def routes(self) -> Router:
        """Return all pages."""
        return routes.router(self.site, self._assets)

    def jobs(self) -> list[Job]:
        """Return what repeats in the background."""
        settings = self._settings
        return [
            Job("mail", settings.mail_seconds, self.outbox.deliver),
            Job("read-demand", settings.demand_seconds, self.interest.refresh),
            Job("write-demand", settings.demand_write_seconds, self.interest.flush),
            Job("write-answers", settings.answer_write_seconds, self.answered.flush),
            Job("announce-launches", settings.demand_seconds, self.announcements.announce),
            Job("incidents", settings.incident_seconds, self.site.incidents.watch),
            Job("forget-old", _FORGET_SECONDS, self._forget_old),
        ]

    def answer_error(
        self, request: Request[Any, Any, Any], error: GatewayError, request_id: str
    ) -> Response[Any] | None:
        """Answer an error with a page, or None where a program waits for it."""
        if not error_pages.wants_page(request):
            return None
        return error_pages.answer(self.site.renderer, request, error, request_id)

    async def _forget_old(self) -> None:
        async with self._database.write() as connection:
            await links.forget_old(connection)
            await sessions.forget_old(connection)
            await answer_hours.forget_old(connection, self._settings.answer_retention_days)
        async with self._database.write() as connection:
            await upkeep.forget_old(connection, keep_text=self._settings.dev_mail)
        for _ in range(_FOLDS_MAX):
            async with self._database.write() as connection:
                if not await events.fold_old(connection, self._settings.demand_retention_days):
                    break
        for _ in range(_FOLDS_MAX):
            async with self._database.write() as connection:
                if not await rate_limits.forget_old(connection):
                    break


def contact(support: str) -> str:
    """Return the address behind a link to whoever runs the service."""
    return f"mailto:{support}" if "@" in support and "/" not in support else support


def make_outbox(settings: Settings, database: Database) -> Outbox:
    """Make the outbox, with the way out that is configured. Raises SettingsError."""
    sender: Sender
    if settings.smtp_url:
        sender = SmtpSender(settings.smtp_url, sender=settings.mail_from)
    elif settings.dev_mail:
        sender = LogSender()
    else:
        sender = NullSender()
    return Outbox(
        database,
        sender,
        pending_max=settings.mail_pending_max,
        lifetimes=Lifetimes(
            link_seconds=settings.mail_link_seconds,
            invitation_seconds=settings.mail_invitation_seconds,
            once_seconds=settings.mail_once_seconds,
        ),
        host=urlsplit(settings.public_url).hostname or "localhost",
        keep_text=settings.dev_mail,
    )


def make_announcements(site: Site) -> LaunchMails:
    """Make the job that tells people of launches."""
    settings = site.settings

    def is_live(model_id: str) -> bool:
        model = site.catalog().models.get(model_id)
        return model is not None and model.state == "live"

    return LaunchMails(
        site.database,
        site.outbox,
        site.writer,
        site.unsubscriptions,
        LaunchTerms(
            gift=Gift(
                nanos=settings.launch_credit_nanos,
                days=settings.signup_credit_days,
                day_nanos=settings.promotion_nanos_per_day,
            ),
            wave_mails=settings.launch_wave_mails,
            wave_seconds=settings.launch_wave_seconds,
            pending_max=settings.launch_pending_max,
        ),
        is_live=is_live,
        titles={model_id: page.title for model_id, page in site.pages.items()},
        public_url=settings.public_url,
    )
