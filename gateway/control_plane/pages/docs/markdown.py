"""Markdown as the parts of a page: HTML, code and tabs, with its headings and what search reads.

HTML in the source is shown as text, so that nothing in it can become markup. Beside CommonMark and
tables there are three things of ours: `{#id}` at the end of a heading names its anchor, code whose
fence says `tab: NAME` joins its neighbors in one set of tabs, and a quotation is a notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from gateway.control_plane.web.snippets import Snippet

_ID = re.compile(r" *\{#([\w-]+)\}$")
_CODE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+")
_NOT_OF_ID = re.compile(r"[^a-z0-9]+")
_TAB = re.compile(r"tab: *(.+)")
_LEXERS = ("bash", "go", "javascript", "json", "python", "sql", "text")


_NAME = re.compile(r"\w+(?:[_-]\w+)+")
"""Names in code that people look for, like `x-cost-nanos`: the words of sample data are none."""


class Heading(NamedTuple):
    """A heading and its anchor."""

    level: int
    id: str
    words: str

    @property
    def breakable(self) -> Markup:
        """The words, which may break within a long code."""
        return escape(self.words).replace("_", Markup("_<wbr>"))


class Code(NamedTuple):
    """One piece of code."""

    snippet: Snippet


class Tabs(NamedTuple):
    """The same thing in several languages."""

    prefix: str
    snippets: tuple[Snippet, ...]


class Passage(NamedTuple):
    """What stands under one heading, as search reads it; the first has no id."""

    id: str
    title: str
    words: str


class Article(NamedTuple):
    """A rendered text. Its parts follow each other; some are inside the HTML of their neighbors."""

    parts: tuple[Markup | Code | Tabs, ...]
    headings: tuple[Heading, ...]
    passages: tuple[Passage, ...]


def read(source: str) -> Article:
    """Render a text; its headings begin at the second level. Raises ValueError for odd code."""
    tokens = _MARKDOWN.parse(source)
    headings = tuple(_anchored(tokens))
    _prepare(tokens)
    _prepare_tables(tokens)
    return Article(tuple(_parts(tokens)), headings, tuple(_passages(tokens, headings)))


def plain(source: str, public_url: str) -> str:
    """Return the text for readers of Markdown: whole addresses, and no names of anchors."""
    source = re.sub(r"^(#+ .*?) *\{#[\w-]+\}$", r"\1", source, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", source).replace("](/", f"]({public_url}/")


def _anchored(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Give each heading an id and a link to itself."""
    taken: set[str] = set()
    parent = ""
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        children = inline.children or []
        named = _ID.search(children[-1].content) if children else None
        if named:
            children[-1].content = _ID.sub("", children[-1].content)
        words = _words(inline)
        own = named[1] if named else slug(words)
        level = int(token.tag[1])
        name = f"{parent}-{own}" if own in taken and level > 2 else own
        if name in taken:
            raise ValueError(f"two headings have the anchor {name}")
        taken.add(name)
        parent = name if level == 2 else parent
        token.attrSet("id", name)
        link = f' <a class="anchor" href="#{name}" aria-label="Link to “{escape(words)}”">#</a>'
        children.append(Token("html_inline", "", 0, content=link))
        yield Heading(level, name, words)


def slug(words: str) -> str:
    """Return the anchor of a heading; a code's is the code itself."""
    if _CODE.fullmatch(words):
        return words
    return _NOT_OF_ID.sub("-", words.lower()).strip("-")


def _prepare(tokens: Sequence[Token]) -> None:
    """Give elements their classes."""
    for place, token in enumerate(tokens):
        if token.type == "blockquote_open":
            token.attrSet("class", "notice")
        elif token.type == "bullet_list_open" and _begins_strong(tokens, place):
            token.attrSet("class", "fields")
    if tokens[0].type == "paragraph_open":
        tokens[0].attrSet("class", "lede")


def _prepare_tables(tokens: Sequence[Token]) -> None:
    """Name tables and cells, and leave no style that our pages would refuse."""
    heading = ""
    tables = column = 0
    table = tokens[0]
    columns: list[str] = []
    for token, after in pairwise(tokens):
        match token.type:
            case "heading_open":
                heading, tables = _words(after), 0
            case "table_open":
                table, tables, columns = token, tables + 1, []
                token.meta["label"] = f"{heading or 'Overview'}{f', {tables}' * (tables > 1)}"
            case "tr_open":
                column = 0
            case "th_open":
                token.attrSet("scope", "col")
                columns.append(_words(after))
                table.meta["columns"] = len(columns)
            case "td_open":
                if column:
                    token.attrSet("data-label", columns[column])
                column += 1
        if token.attrs.pop("style", ""):
            token.attrSet("class", "number")


def _begins_strong(tokens: Sequence[Token], place: int) -> bool:
    """Tell whether a list explains terms: its first item begins with one that is strong."""
    first = next(token for token in tokens[place:] if token.type == "inline")
    # the parser puts an empty text before it
    said = [child.type for child in first.children or [] if child.type != "text" or child.content]
    return said[:1] == ["strong_open"]


def _parts(tokens: Sequence[Token]) -> Iterator[Markup | Code | Tabs]:
    """Split at code: what is between is HTML."""
    html: list[Token] = []
    tabs: list[Snippet] = []
    count = 0
    for token in [*tokens, Token("end", "", 0)]:
        snippet = _snippet(token) if token.type == "fence" else None
        is_tab = snippet is not None and token.meta.get("tab", False)
        if tabs and not is_tab:
            count += 1
            yield Tabs(f"tabs-{count}", tuple(tabs))
            tabs = []
        if snippet is None:
            html.append(token)
            continue
        if html:
            yield _html(html)
            html = []
        if is_tab:
            tabs.append(snippet)
        else:
            count += 1
            yield Code(snippet._replace(slug=f"code-{count}"))
    yield _html(html[:-1])


def _html(tokens: Sequence[Token]) -> Markup:
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))  # noqa: S704


def _snippet(fence: Token) -> Snippet:
    lexer, _, title = fence.info.strip().partition(" ")
    if lexer not in _LEXERS:
        raise ValueError(f"code in {lexer or 'no language'}; known are {', '.join(_LEXERS)}")
    if tab := _TAB.fullmatch(title):
        fence.meta["tab"] = True
        title = tab[1]
    return Snippet(slug(title.lower()), title, lexer, fence.content.rstrip())


def _passages(tokens: Sequence[Token], headings: Sequence[Heading]) -> Iterator[Passage]:
    """Yield the words under each heading."""
    known = iter(headings)
    name, title = "", ""
    words: list[str] = []
    for token, before in zip(tokens, [Token("", "", 0), *tokens], strict=False):
        if token.type == "heading_open":
            if name or words:
                yield Passage(name, title, " ".join(words))
            _, name, title = next(known)
            words = []
        elif token.type == "inline" and before.type != "heading_open":
            words.append(_words(token))
        elif token.type == "fence":
            words.append(" ".join(_NAME.findall(token.content)))
    yield Passage(name, title, " ".join(words))


def _words(inline: Token) -> str:
    """Return the text of a line, without its marks."""
    return "".join(
        " " if child.type == "softbreak" else child.content
        for child in inline.children or []
        if child.type != "html_inline"
    ).strip()


def _table_open(_self: object, tokens: Sequence[Token], index: int, *_: object) -> str:
    label = escape(tokens[index].meta["label"])
    rows = ' class="rows"' if tokens[index].meta["columns"] > 2 else ""
    return (
        f'<div class="table-scroll" tabindex="0" role="region" aria-label="{label}"><table{rows}>\n'
    )


def _table_close(*_: object) -> str:
    return "</table></div>\n"


_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_MARKDOWN.add_render_rule("table_open", _table_open)
_MARKDOWN.add_render_rule("table_close", _table_close)
