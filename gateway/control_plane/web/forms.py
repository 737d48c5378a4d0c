"""What forms need: numbers as people write them, where to go afterwards, and refusals in place.

A refused form is answered with the page that it is on, with what was typed still in it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from inspect import Parameter, signature
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from litestar import Request, Response, post
from litestar.di import NamedDependency, Provide
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from gateway import wall
from gateway.errors import BadRequest, GatewayError, TooManyRequests, Unavailable
from gateway.identifiers import is_id, new_id

HOME = "/console"

IN_PLACE = (BadRequest, TooManyRequests, Unavailable)
"""Errors that a form's own page shows: the sender can do something about them."""

_CHARACTERS_MAX = 1_000
_SEPARATOR = re.compile("[, \u00a0\u202f]")
_THOUSANDS = re.compile("[0-9]{1,3}(?:[, \u00a0\u202f][0-9]{3})+")
_TWICE_SECONDS = 60


@dataclass(frozen=True)
class RefusedForm:
    """A refused form: its name on the page, the error, and what was typed.

    The error's `param` names the field to blame, if any.
    """

    form: str
    error: GatewayError
    typed: Any = None


FormPage = Callable[[RefusedForm | None], Awaitable[Response[Any]]]
"""Renders the page that a form is on, with its refusal if there is one."""
_ProvidedPage: TypeAlias = NamedDependency[FormPage]


def post_form(
    path: str | list[str], form: str, page: Callable[..., Awaitable[FormPage]], **options: Any
) -> Callable[[Callable[..., Awaitable[Response[Any]]]], HTTPRouteHandler]:
    """Make the route of a form; if it is refused, the answer is its own page.

    `page` provides that page, and takes dependencies as handlers do. Only errors that the sender
    can do something about (`IN_PLACE`) are answered like this; what was typed, the handler's
    `data`, stays.
    """

    def decorate(handler: Callable[..., Awaitable[Response[Any]]]) -> HTTPRouteHandler:
        @wraps(handler)
        async def handle(*, page: FormPage, **given: Any) -> Response[Any]:
            try:
                return await handler(**given)
            except IN_PLACE as error:
                return await page(RefusedForm(form, error, given.get("data")))

        # Litestar reads from the signature what to provide: what the handler takes, and the page
        takes = signature(handler)
        shown = Parameter("page", Parameter.KEYWORD_ONLY, annotation=_ProvidedPage)
        handle.__signature__ = takes.replace(  # type: ignore[attr-defined]
            parameters=[*takes.parameters.values(), shown]
        )
        handle.__annotations__ = {**handler.__annotations__, "page": shown.annotation}
        return post(path, dependencies={"page": Provide(page)}, **options)(handle)

    return decorate


def safe_path(path: str) -> str:
    r"""Return the path if it is on this site and not too long, else the console's.

    A browser reads `//host`, `/\\host` and paths with control characters as other sites.
    """
    ours = path.startswith("/") and not path.startswith("//") and len(path) <= _CHARACTERS_MAX
    return path if ours and path.isprintable() and "\\" not in path else HOME


def came_from(request: Request[Any, Any, Any]) -> str:
    """Return the path of our page that the visitor came from; empty if there is none."""
    try:
        page = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if page.netloc != request.url.netloc:
        return ""
    if request.method == "GET" and page.path == request.url.path:
        return ""  # the page that just failed would fail again
    path = f"{page.path}?{page.query}" if page.query else page.path
    return path if safe_path(path) == path else ""


def whole(text: str, maximum: int) -> int | None:
    """Read a whole number as people write it, 1,000 or 1 000; None for anything else.

    Separators must separate thousands: 1,5 is not 15.
    """
    text = text.strip()
    if _THOUSANDS.fullmatch(text):
        text = _SEPARATOR.sub("", text)
    digits = text.lstrip("0") or "0"
    # Python refuses to read integers of thousands of digits
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(maximum)):
        return None
    return int(digits) if int(digits) <= maximum else None


def lines(text: str) -> str:
    """Return a text with single line ends: browsers send CRLF."""
    return text.replace("\r\n", "\n")


def form_of(form_id: str) -> str:
    """Return a form's id, or a new one for a form that brought none."""
    return form_id if is_id(form_id) else new_id()


def once(form_id: str, address: str) -> str:
    """Name a form's request: the same name if it is sent twice, as by a double click.

    Only within the same minute: a form that is sent again later is meant to be.
    """
    if not is_id(form_id):
        return new_id()
    asked = f"{form_id}|{address}|{int(wall.unix_time()) // _TWICE_SECONDS}"
    return sha256(asked.encode()).hexdigest()


async def refuse_unstorable(request: Request[Any, Any, Any]) -> None:
    """Refuse NUL characters, which no database stores. Raises BadRequest."""
    values = [value for _, value in request.query_params.multi_items()]
    if request.content_type[0] in (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART):
        values += [value for _, value in (await request.form()).multi_items()]
    if any("\0" in value for value in values if isinstance(value, str)):
        raise BadRequest("There is a NUL character in it. Remove it, and send it again.")


def see_other(path: str) -> Redirect:
    """Redirect after a form, so that reloading sends nothing twice."""
    return Redirect(path, status_code=303)
