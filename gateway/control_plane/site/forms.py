"""Small things that forms need: where to go afterwards, and saying that something was done."""

from __future__ import annotations

from urllib.parse import urlsplit

from litestar.response import Redirect

HOME = "/console"

_CHARACTERS_MAX = 1_000


def safe_path(path: str) -> str:
    r"""Return a path of this site to go to, or the console for anything else and what is too long.

    A browser reads `//host`, `/\\host` and paths with control characters as other sites.
    """
    parts = urlsplit(path)
    foreign = parts.scheme or parts.netloc or "\\" in path or not path.isprintable()
    foreign = foreign or len(path) > _CHARACTERS_MAX
    return HOME if foreign or not path.startswith("/") or path.startswith("//") else path


def see_other(path: str) -> Redirect:
    """Go to a page after a form was sent, so that reloading sends nothing twice."""
    return Redirect(path, status_code=303)
