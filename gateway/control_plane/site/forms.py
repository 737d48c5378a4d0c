"""Small things that forms need: numbers as people write them, and where to go afterwards."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.response import Redirect

from gateway.errors import BadRequest

HOME = "/console"

_CHARACTERS_MAX = 1_000


def safe_path(path: str) -> str:
    r"""Return a path of this site to go to, or the console for anything else and what is too long.

    A browser reads `//host`, `/\\host` and paths with control characters as other sites.
    """
    ours = path.startswith("/") and not path.startswith("//") and len(path) <= _CHARACTERS_MAX
    return path if ours and path.isprintable() and "\\" not in path else HOME


def whole(text: str, maximum: int) -> int | None:
    """Read a whole number as people write it, 1,000 or 1 000; None for anything else."""
    digits = text.replace(",", "").replace(" ", "").lstrip("0") or "0"
    # Python reads no integer of thousands of digits
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(maximum)):
        return None
    return int(digits) if int(digits) <= maximum else None


async def refuse_unstorable(request: Request[Any, Any, Any]) -> None:
    """Refuse a character that no database keeps. Raises BadRequest."""
    values = [value for _, value in request.query_params.multi_items()]
    if request.content_type[0] in (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART):
        values += [value for _, value in (await request.form()).multi_items()]
    if any("\0" in value for value in values if isinstance(value, str)):
        raise BadRequest("There is a NUL character in it. Remove it, and send it once more.")


def see_other(path: str) -> Redirect:
    """Go to a page after a form was sent, so that reloading sends nothing twice."""
    return Redirect(path, status_code=303)
