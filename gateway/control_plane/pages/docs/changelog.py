"""The changelog: launches and prices from the database, changes of the API from a reviewed file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from functools import cache
from typing import Literal, NamedTuple

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from markupsafe import Markup

from gateway.control_plane.demand.news import CatalogNews, NewsItem
from gateway.control_plane.pages.docs import markdown
from gateway.control_plane.pages.docs.manual import CONTENT
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.xml_text import xml_text
from gateway.money import money
from gateway.settings import Settings

SHOWN_MAX = 100
"""Most changes on the page and in the feed: the newest."""


class ApiChange(msgspec.Struct, frozen=True):
    """A change of the API, as the file has it."""

    on: date
    title: str
    words: str


class _Changes(msgspec.Struct, frozen=True):
    changes: tuple[ApiChange, ...]


class Shown(NamedTuple):
    """One entry."""

    kind: Literal["launch", "price", "api"]
    at: datetime
    anchor: str
    title: str
    words: Markup
    is_to_come: bool = False


@get("/changelog")
async def show_changelog(
    render: NamedDependency[Render], news: NamedDependency[CatalogNews]
) -> Response[str]:
    """Show what changed, by day."""
    days: dict[date, list[Shown]] = {}
    to_come = []
    for one in _shown(news):
        if one.is_to_come:
            to_come.append(one)
        else:
            days.setdefault(one.at.date(), []).append(one)
    return render("docs/changelog.html", days=days, to_come=to_come[::-1])


@get("/changelog.rss")
async def read_feed(
    settings: NamedDependency[Settings], news: NamedDependency[CatalogNews]
) -> Response[str]:
    """Return the same as RSS 2.0."""
    url = settings.public_url
    items = "".join(
        f"<item><title>{xml_text(one.title)}</title>"
        f"<link>{xml_text(url)}/changelog#{one.anchor}</link>"
        f'<guid isPermaLink="false">{xml_text(url)}/{one.anchor}</guid>'
        f"<pubDate>{format_datetime(one.at)}</pubDate><category>{one.kind}</category>"
        f"<description>{xml_text(_absolute(one.words, url))}</description></item>"
        for one in _shown(news)
    )
    feed = (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" '
        'xmlns:atom="http://www.w3.org/2005/Atom"><channel>'
        f"<title>{xml_text(settings.brand)} changelog</title><link>{xml_text(url)}/changelog</link>"
        f'<atom:link href="{xml_text(url)}/changelog.rss" rel="self" type="application/rss+xml"/>'
        "<description>Model launches, price changes and API changes</description>"
        f"<language>en</language>{items}</channel></rss>"
    )
    return Response(feed, media_type="application/rss+xml")


@cache
def changes() -> Sequence[ApiChange]:
    """Return the changes of the API, newest first."""
    found = tomllib.loads((CONTENT / "changelog.toml").read_text())
    return msgspec.convert(found, _Changes).changes


def _shown(news: CatalogNews) -> Sequence[Shown]:
    found = [*map(_of_news, news.items), *_of_api()]
    return sorted(found, key=lambda one: one.at, reverse=True)[:SHOWN_MAX]


@cache
def _of_api() -> Sequence[Shown]:
    return [
        Shown(
            "api",
            datetime.combine(one.on, time(), UTC),
            f"api-{one.on}-{markdown.slug(one.title)}",
            one.title,
            Markup("").join(
                part for part in markdown.read(one.words).parts if isinstance(part, Markup)
            ),
        )
        for one in changes()
    ]


def _absolute(html: Markup, url: str) -> str:
    """Return HTML for readers that don't know where it came from."""
    return str(html).replace('href="/', f'href="{url}/')


def _of_news(item: NewsItem) -> Shown:
    price = money(item.nanos_per_million_tokens)
    path = f"/models/{item.model_id}"
    link = Markup('<a href="{}">{}</a>').format(path, item.model_id)
    anchor = f"{item.kind}-{markdown.slug(item.model_id)}-{item.at:%Y-%m-%d}"
    if item.kind == "launch":
        title = f"{item.model_id} is live"
        words = Markup("<p>{} answers now, for {} per million tokens.</p>").format(link, price)
        return Shown("launch", item.at, anchor, title, words)
    what = "flex price" if item.tier == "flex" else "price"
    way = "lower" if item.nanos_per_million_tokens < item.former_nanos else "higher"
    begins = "from then on" if item.is_to_come else "from now on"
    words = Markup("<p>The {} of {} is {} per million tokens {}, instead of {}.</p>").format(
        what, link, price, begins, money(item.former_nanos)
    )
    title = f"{item.model_id}: {way} {what}"
    return Shown("price", item.at, f"{anchor}-{item.tier}", title, words, item.is_to_come)
