"""The pages of the documentation: Markdown files, filled with the numbers of this gateway.

A file is a template first: `{{ code: rag/index.py }}` on a line of its own shows the file that
tests run, and names like `limits` are what the code really holds. Then it is Markdown. Both happen
once for each model that examples are about, so a page costs what its frame costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, StrictUndefined

from gateway.control_plane.pages.docs import code, facts, markdown, places
from gateway.control_plane.pages.docs.index import Entry, Index
from gateway.errors import documented
from gateway.settings import Settings
from gateway.snapshots import ModelSnapshot
from gateway.wings import Operation

CONTENT = Path(__file__).parent / "content"
PAGES = (
    "quickstart", "clients", "tokens",
    "rag-with-pgvector", "rag-with-qdrant", "from-openai", "queries-and-documents", "dimensions",
    "batching", "retries", "receipts", "budgets", "evaluate", "data-handling",
    "reference", "errors", "limits",
)  # fmt: skip
"""The slugs, in the order in which they are read; a page's group stands in its file."""

_MODELS_MAX = 4
_FRONT = re.compile(r"---\n(.*?)\n---\n+(.*)", re.DOTALL)


class DocsPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page."""

    slug: str
    title: str
    description: str
    group: str
    contents: int
    """The level of headings down to which its contents are listed."""
    source: str
    """Markdown, with its title."""
    keywords: str
    """What people search its sections by, beside their words."""
    article: markdown.Article

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/docs/{self.slug}"

    def entries(self) -> Iterator[Entry]:
        """Yield what search finds: the page, and each of its sections."""
        for id_, title, words in self.article.passages:
            if id_:
                yield Entry(self.title, title, f"{self.path}#{id_}", words, self.keywords)
            else:
                yield Entry(self.title, "", self.path, f"{words} {self.description}", self.keywords)


class Manual:
    """All pages, for the model that examples are about."""

    def __init__(self, settings: Settings, operations: Sequence[Operation] = ()) -> None:
        """Make it; `operations` are those of other wings, for the reference."""
        self._settings = settings
        self._operations = operations
        self._environment = environment()
        self._environment.filters.update(cell=_cell, codes=_codes)
        self._environment.globals.update(code=code.shown, tabs=code.tabs, block=code.block)
        self._read = lru_cache(_MODELS_MAX)(self._pages)
        self._indexed = lru_cache(_MODELS_MAX)(self._index)

    def pages(self, model: ModelSnapshot) -> Mapping[str, DocsPage]:
        """Return the pages by slug, in order."""
        return self._read(model.id, model.tokens_max)

    def index(self, model: ModelSnapshot) -> Index:
        """Return the search over the sections of all pages, and over the site's other pages."""
        return self._indexed(model.id, model.tokens_max)

    def _index(self, model_id: str, tokens_max: int) -> Index:
        pages = self._read(model_id, tokens_max).values()
        elsewhere = (*places.PLACES, *places.legal(self._settings))
        return Index([*elsewhere, *(entry for page in pages for entry in page.entries())])

    def _pages(self, model_id: str, tokens_max: int) -> Mapping[str, DocsPage]:
        about = facts.about(self._settings, model_id, tokens_max, self._operations)
        return {slug: self._page(slug, about) for slug in PAGES}

    def _page(self, slug: str, about: Mapping[str, Any]) -> DocsPage:
        written = code.included((CONTENT / f"{slug}.md").read_text())
        front, body = split(self._environment.from_string(written).render(about))
        return DocsPage(
            slug=slug,
            title=front["title"],
            description=front["description"],
            group=front["group"],
            contents=int(front.get("contents", "3")),
            keywords=front.get("keywords", ""),
            source=f"# {front['title']}\n\n{markdown.plain(body, self._settings.public_url)}",
            article=markdown.read(body),
        )


def environment() -> Environment:
    """Return what makes Markdown of our files."""
    return Environment(
        autoescape=False,  # noqa: S701 - Markdown, whose renderer escapes
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="<!--#",  # {#id} is an anchor
        comment_end_string="#-->",
    )


def split(text: str) -> tuple[dict[str, str], str]:
    """Return the front matter, lines of `name: words`, and the text below it."""
    found = _FRONT.match(text)
    assert found, "a page begins with front matter"
    pairs = (line.partition(": ") for line in found[1].splitlines())
    return {name.strip(): words.strip() for name, _, words in pairs}, found[2]


def _codes(words: str) -> str:
    """Return words whose error codes lead to what they mean."""
    known = {kind.code for kind in documented()}
    return re.sub(
        r"`(\w+)`",
        lambda code: f"[{code[0]}](/docs/errors#{code[1]})" if code[1] in known else code[0],
        words,
    )


def _cell(words: str) -> str:
    """Return words for a cell of a table."""
    return " ".join(str(words).split()).replace("|", "\\|")
