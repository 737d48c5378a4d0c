"""Light or dark: a visitor's choice, in a cookie; without one, their system decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import Cookie
from litestar.params import URLEncodedBody

from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.forms import came_from, see_other

COOKIE = "theme"
_THEMES = ("light", "dark")
_YEAR_SECONDS = 365 * 24 * 3600


class ThemeForm(msgspec.Struct):
    """The choice: light, dark, or empty for the system's."""

    theme: str = ""


def chosen(cookies: Mapping[str, str]) -> str:
    """Return what the visitor chose: light, dark, or empty."""
    found = cookies.get(COOKIE, "")
    return found if found in _THEMES else ""


@post("/theme", opt={ANYBODYS: True})
async def choose_theme(
    request: Request[Any, Any, Any], data: URLEncodedBody[ThemeForm]
) -> Response[Any]:
    """Remember the choice, and return to the page."""
    answer = see_other(came_from(request) or "/")
    is_known = data.theme in _THEMES
    answer.set_cookie(
        Cookie(
            key=COOKIE,
            value=data.theme if is_known else "",
            max_age=_YEAR_SECONDS if is_known else 0,
            samesite="lax",
            httponly=True,
            secure=request.url.scheme == "https",
        )
    )
    return answer
