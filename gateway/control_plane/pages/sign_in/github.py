"""Signing in by GitHub: out to it, and back.

What comes back counts only in the browser that went out, and once (see `errands`).
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Redirect

from gateway.control_plane.accounts import addresses, identities
from gateway.control_plane.accounts.github import Github, GithubRefused, GithubUnavailable
from gateway.control_plane.pages.parts import PageNotFound, Site
from gateway.control_plane.web.forms import safe_path, see_other
from gateway.control_plane.web.oauth_state import Errand
from gateway.settings import Settings, SettingsError, derive

PATH = "/sign-in/github"
BACK = f"{PATH}/callback"


@get(PATH)
async def go_to_github(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    next: FromQuery[str] = "",  # noqa: A002 - the name in the address
) -> Response[Any]:
    """Send the browser to GitHub: to sign in, or to be connected by who is signed in already."""
    github = _configured(site)
    await site.sign_ins.take(site.visitor(request))
    user_id = request.user.user_id if request.user else ""
    state, cookie = site.errands.begin(Errand(safe_path(next), user_id))
    answer = Redirect(github.address(state), status_code=303)
    answer.set_cookie(cookie)
    return answer


@get(BACK)
async def come_back(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    code: FromQuery[str] = "",
    returned: Annotated[str, QueryParameter(name="state")] = "",
    error: FromQuery[str] = "",
) -> Response[Any]:
    """Sign in whoever GitHub says it is, or say why not and offer the other way."""
    github = _configured(site)
    await site.sign_ins.take(site.visitor(request))
    answer: Response[Any]
    try:
        answer = await _arrive(request, site, github, code="" if error else code, state=returned)
    except (GithubRefused, GithubUnavailable, addresses.BadAddress) as refusal:
        answer = site.renderer.page(
            request,
            "sign_in/again.html",
            status=refusal.status,
            heading="GitHub did not sign you in",
            message=refusal.message,
            way="Sign in another way",
        )
        answer.headers.update(refusal.headers)
    answer.set_cookie(site.errands.empty())
    return answer


async def _arrive(
    request: Request[Any, Any, Any], site: Site, github: Github, *, code: str, state: str
) -> Response[Any]:
    errand = site.errands.end(request.cookies.get(site.errands.name, ""), state)
    if errand.user_id != (request.user.user_id if request.user else ""):
        raise GithubRefused("You signed in or out meanwhile. Begin it once more.")
    if not code:
        raise GithubRefused("You did not let GitHub tell us who you are; nothing was kept.")
    account = await github.account(code, state)
    address = addresses.parse(account.email)
    who = identities.of(derive(site.settings.secret, "identities"), "github", account.subject)
    answer = see_other(errand.path)
    async with site.database.write() as connection:
        if errand.user_id:
            known = await identities.find(connection, who)
            if known and known.id != errand.user_id:
                raise GithubRefused(
                    "That GitHub account signs in another account here. Disconnect it there first."
                )
            await identities.connect(connection, who, errand.user_id)
        else:
            session = await site.enter(connection, address, identity=who)
            answer.set_cookie(site.cookie.holding(session))
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


def _configured(site: Site) -> Github:
    if site.github is None:
        raise PageNotFound("Signing in by GitHub is not configured here.")
    return site.github
