"""Code in the documentation, as fences of Markdown: files that tests run, and calls of a model."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from gateway.control_plane.web.snippets import Snippet

FILES = Path(__file__).parent / "content" / "code"
_INCLUDED = re.compile(r"^\{\{ code: (.+?) \}\}$", re.MULTILINE)
_MARK = re.compile(r"^[ \t]*(?:#|//|--) (region \w+|endregion)\n?", re.MULTILINE)
_LANGUAGES = {
    ".py": ("python", "Python"),
    ".js": ("javascript", "JavaScript"),
    ".mjs": ("javascript", "JavaScript"),
    ".go": ("go", "Go"),
    ".sh": ("bash", "curl"),
    ".sql": ("sql", "SQL"),
    ".json": ("json", "JSON"),
}


def included(text: str) -> str:
    """Turn lines like `{{ code: rag/index.py }}` into calls of `shown`."""
    return _INCLUDED.sub(lambda found: f'{{{{ code("{found[1]}") }}}}', text)


def shown(paths: str) -> str:
    """Show a file of `content/code`, or several as tabs; `index.py#load` is one region of it.

    A region is what stands between the lines `# region load` and `# endregion`.
    """
    some = [path.strip() for path in paths.split(",")]
    if some[1:]:
        return tabs(_file(path, titled=False) for path in some)
    (one,) = some
    snippet = _file(one, titled=True)
    return block(snippet.code, snippet.lexer, snippet.name)


def tabs(snippets: Iterable[Snippet]) -> str:
    """Show the same thing in several languages."""
    return "\n\n".join(block(one.code, one.lexer, f"tab: {one.name}") for one in snippets)


def block(text: str, lexer: str, title: str = "") -> str:
    """Show one piece of code."""
    return f"```{f'{lexer} {title}'.strip()}\n{text.rstrip()}\n```"


def _file(path: str, *, titled: bool) -> Snippet:
    name, _, region = path.partition("#")
    file = FILES / name
    lexer, language = _LANGUAGES[file.suffix]
    text = file.read_text()
    if region:
        found = re.search(
            rf"^[ \t]*(?:#|//|--) region {region}\n(.*?)^[ \t]*(?:#|//|--) endregion", text,
            re.MULTILINE | re.DOTALL,
        )  # fmt: skip
        assert found, f"{name} has no region {region}"
        text = found[1]
    text = textwrap.dedent(_MARK.sub("", text)).strip("\n")
    return Snippet("", file.name if titled else language, lexer, text)
