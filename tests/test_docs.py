"""Each page of the documentation is found, and what pages link to is there."""

import re
import subprocess
from collections import deque
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "README.md"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@cache
def pages() -> list[Path]:
    """Return every page that is part of the repository, or about to be."""
    kinds = ["*.md", ":!benchmarks/*"]  # a program's template of a page is none
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *kinds]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).exists()]


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as hosts of repositories make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def links(page: Path) -> list[tuple[str, str]]:
    """Return (path, anchor) of each relative link of a page."""
    text = _CODE.sub("", page.read_text())
    return [
        (target.partition("#")[0], target.partition("#")[2])
        for target in _LINK.findall(text)
        if not re.match(r"[a-z]+:", target)
    ]


def test_what_pages_link_to_is_there():
    broken = []
    for page in pages():
        for path, anchor in links(page):
            target = (page.parent / path).resolve() if path else page
            is_there = target.exists()
            if is_there and anchor and target.suffix == ".md":
                is_there = anchor in anchors(target)
            if not is_there:
                broken.append(f"{page.relative_to(ROOT)}: {path}#{anchor}")
    assert broken == []


def test_every_page_of_the_documentation_is_reached_from_its_index():
    reached, waiting = {INDEX}, deque([INDEX])
    while waiting:
        page = waiting.popleft()
        for path, _ in links(page):
            target = (page.parent / path).resolve()
            found = sorted(target.glob("*.md")) if target.is_dir() else [target]
            for one in found:
                if one.suffix == ".md" and one not in reached:
                    reached.add(one)
                    waiting.append(one)
    docs = {page for page in pages() if page.is_relative_to(ROOT / "docs")}
    assert sorted(map(str, docs - reached)) == []


def test_who_comes_to_the_repository_finds_the_index():
    assert ("docs/README.md", "") in links(ROOT / "README.md")
