"""All pages of the documentation: their files, their links, and the same as Markdown."""

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import urlsplit

from gateway.app.process import Process
from gateway.control_plane.pages.docs import code, manual
from gateway.control_plane.pages.docs.manual import PAGES
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import MINILM
from tests.control_plane.pages.docs.test_search import index

_LINK = re.compile(r'href="(/[^"]*|#[^"]*)"')
_ID = re.compile(r' id="([^"]+)"')


def test_every_file_is_a_page():
    assert sorted(PAGES) == sorted(file.stem for file in manual.CONTENT.glob("*.md"))


def links(path: str, page: str) -> Iterator[tuple[str, str]]:
    for link in _LINK.findall(page.partition("<main")[2].partition("</main>")[0]):
        address = urlsplit(unescape(link))
        yield (
            (address.path or path) + (f"?{address.query}" if address.query else ""),
            address.fragment,
        )


async def test_every_link_leads_somewhere(browser: Browser):
    pages: dict[str, str] = {}
    wanted: set[tuple[str, str]] = set()
    for slug in PAGES:
        path = f"/docs/{slug}"
        pages[path] = (await browser.get(path)).text
        wanted |= set(links(path, pages[path]))
    assert ("/docs/errors", "retries") in wanted
    found = {entry.address.partition("#") for entry in index()._entries}  # by the search
    wanted |= {(path, anchor) for path, _, anchor in found}
    for path, fragment in sorted(wanted):
        if path not in pages:
            answer = await browser.get(path)
            assert answer.status_code == 200, path
            pages[path] = answer.text
        assert not fragment or fragment in _ID.findall(pages[path]), f"{path}#{fragment}"


async def test_an_anchor_is_given_once(browser: Browser):
    for slug in PAGES:
        page = (await browser.get(f"/docs/{slug}")).text
        ids = _ID.findall(page)
        assert len(ids) == len(set(ids)), slug
        assert "`" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL), slug


async def test_pages_follow_each_other(browser: Browser):
    path, seen = "/docs", []
    while path:
        page = (await browser.get(path)).text
        seen.append(unescape(re.findall(r"<article.*?<h1>(.*?)</h1>", page, re.DOTALL)[0]))
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1] if following else ""
    assert len(seen) == len(PAGES)
    assert seen[0] == "Quickstart"


async def test_every_page_is_there_as_markdown(browser: Browser):
    for slug in PAGES:
        answer = await browser.get(f"/docs/{slug}.md")
        assert answer.headers["content-type"].startswith("text/markdown")
        assert answer.text.startswith("# ")
        assert "{#" not in answer.text
        assert "{{" not in re.sub(r"```.*?```", "", answer.text, flags=re.DOTALL)
    assert "## 402 Payment Required\n" in (await browser.get("/docs/errors.md")).text
    assert (await browser.get("/docs/no-such.md")).status_code == 404


def test_a_file_is_shown_whole_in_part_or_in_tabs(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "FILES", tmp_path)
    (tmp_path / "a.py").write_text("import os\n\n# region use\nif os:\n    x = 1\n# endregion\n")
    (tmp_path / "a.js").write_text("const x = 1;\n")
    assert code.included("{{ code: a.py }}\n") == '{{ code("a.py") }}\n'
    assert code.shown("a.py") == "```python a.py\nimport os\n\nif os:\n    x = 1\n```"
    assert code.shown("a.py#use") == "```python a.py\nif os:\n    x = 1\n```"
    assert code.shown("a.py, a.js").splitlines()[0] == "```python tab: Python"
    assert "```javascript tab: JavaScript" in code.shown("a.py, a.js")


async def test_programs_find_every_page_and_the_live_models(browser: Browser):
    listed = (await browser.get("/llms.txt")).text
    whole = (await browser.get("/llms-full.txt")).text
    for slug in PAGES:
        assert f"(http://127.0.0.1:8080/docs/{slug}.md): " in listed
        page = (await browser.get(f"/docs/{slug}.md")).text
        assert page in whole
        assert "](/" not in page, "whole addresses"
    assert f"- [{MINILM}](http://127.0.0.1:8080/models/{MINILM}): $" in listed


async def test_the_language_that_one_reads_is_kept(browser: Browser):
    assert 'value="curl"\n      checked' in (await browser.get("/docs")).text
    for path in ("/docs", f"/models/{MINILM}"):
        page = (await browser.get(path, headers={"cookie": "code_language=go"})).text
        assert page.count('value="go"\n      checked') == page.count('value="go"') >= 1
        assert 'value="curl"\n      checked' not in page
    page = (await browser.get("/docs", headers={"cookie": "code_language=cobol"})).text
    assert 'value="curl"\n      checked' in page


async def test_a_reader_is_told_of_the_key_whose_secret_nobody_keeps(
    gateway: Process, browser: Browser
):
    assert "Get a key</a>" in (await browser.get("/docs")).text
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/keys")
    made = (await browser.submit("/console/keys", name="ci")).text
    secret = re.findall(r"sk-\w{30,}", unescape(re.sub(r"<[^>]+>", "", made)))[0]
    page = (await browser.get("/docs")).text
    assert f"“ci”, sk-…{secret[-4:]}" in page
    assert secret not in page
