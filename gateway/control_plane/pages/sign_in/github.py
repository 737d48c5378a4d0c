"""Signing in with GitHub: out to it, and back.

GitHub's answer counts only in the browser that went out, and once: see `web.oauth_state`.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Redirect

from gateway.control_plane.accounts import addresses, identities
from gateway.control_plane.accounts.github import Github, GithubRefused, GithubUnavailable
from gateway.control_plane.accounts.identities import Identity
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.control_plane.pages.sign_in.entering import Entering
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.devices import device_of
from gateway.control_plane.web.forms import safe_path, see_other
from gateway.control_plane.web.oauth_state import Journey, OAuthState
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.settings import Settings, SettingsError
from gateway.storage.database import Database

PATH = "/sign-in/github"
BACK = f"{PATH}/callback"


@get(PATH)
async def go_to_github(
    request: Request[Any, Any, Any],
    github: NamedDependency[Github | None],
    oauth_state: NamedDependency[OAuthState],
    sign_in_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    next: FromQuery[str] = "",  # noqa: A002 - the name in the address
) -> Response[Any]:
    """Send the browser to GitHub: to sign in, or to connect the account that is signed in."""
    github = _configured(github)
    await sign_in_quota.take(origin)
    user_id = request.user.user_id if request.user else ""
    state, cookie = oauth_state.begin(Journey(safe_path(next), user_id))
    answer = Redirect(github.address(state), status_code=303)
    answer.set_cookie(cookie)
    return answer


@get(BACK)
async def come_back(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    github: NamedDependency[Github | None],
    oauth_state: NamedDependency[OAuthState],
    sign_in_quota: NamedDependency[Quota],
    entering: NamedDependency[Entering],
    security_mails: NamedDependency[SecurityMails],
    cookie: NamedDependency[HostCookie],
    origin: NamedDependency[str],
    code: FromQuery[str] = "",
    returned: Annotated[str, QueryParameter(name="state")] = "",
    error: FromQuery[str] = "",
) -> Response[Any]:
    """Sign in the account that GitHub names, or say why not and offer the other way."""
    github = _configured(github)
    await sign_in_quota.take(origin)
    user_id = request.user.user_id if request.user else ""
    answer: Response[Any]
    try:
        journey = oauth_state.end(request.cookies.get(oauth_state.cookie.name, ""), returned)
        _check(journey, user_id, "" if error else code)
        account = await github.account(code, returned)
        address = addresses.parse(account.email)
        async with database.write() as connection:
            who = await identities.of(connection, settings.keyring, "github", account.subject)
        answer = see_other(journey.path)
        if user_id:
            trail = MemberTrail.of(user_id, request.user.organization_id, origin)
            await _connect(database, security_mails, who, trail)
        else:
            async with database.write() as connection:
                session = await entering.enter(
                    connection, address, device_of(request, origin), identity=who
                )
            answer.set_cookie(cookie.holding(session))
    except (GithubRefused, GithubUnavailable, addresses.BadAddress) as refusal:
        answer = render(
            "again.html",
            status=refusal.status,
            heading="GitHub did not sign you in",
            message=refusal.message,
            way="Sign in another way",
        )
        answer.headers.update(refusal.headers)
    answer.set_cookie(oauth_state.cookie.empty())
    return answer


def make_github(settings: Settings) -> Github | None:
    """Make the way to GitHub, where it is configured. Raises SettingsError."""
    if not (settings.github_client_id or settings.github_client_secret):
        return None
    if not (settings.github_client_id and settings.github_client_secret):
        raise SettingsError(
            "GATEWAY_GITHUB_CLIENT_ID and GATEWAY_GITHUB_CLIENT_SECRET go together: set both, or "
            "neither"
        )
    return Github(
        client_id=settings.github_client_id,
        client_secret=settings.github_client_secret,
        url=settings.github_url,
        api_url=settings.github_api_url,
        redirect_url=f"{settings.public_url}{BACK}",
    )


def _check(journey: Journey, user_id: str, code: str) -> None:
    if journey.user_id != user_id:
        raise GithubRefused("You signed in or out in the meantime. Start it again.")
    if not code:
        raise GithubRefused("You didn't allow GitHub to tell us who you are. We kept nothing.")


async def _connect(
    database: Database, mails: SecurityMails, who: Identity, trail: MemberTrail
) -> None:
    user_id = trail.actor.user_id
    assert user_id
    async with database.write() as connection:
        known = await identities.find(connection, who)
        if known and known.id != user_id:
            raise GithubRefused(
                "That GitHub account is connected to another account here. Disconnect it there "
                "first."
            )
        await identities.connect(connection, who, user_id)
        if not known:
            await mails.method_added(connection, user_id, "GitHub", trail.actor.origin)
            await trail.record(
                connection,
                "sign_in_method.added",
                trail.person,
                after={"method": who.provider},
            )


def _configured(github: Github | None) -> Github:
    if github is None:
        raise PageNotFound("Signing in with GitHub is not configured here.")
    return github
