"""Each page of the documentation is found, and what pages link to is there."""

import re
import subprocess
from collections import deque
from functools import cache
from pathlib import Path

from testing.typed import flaw

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "README.md"
NOT_TYPED = ("gateway receipts root v1", "gateway run --processes")
"""What begins each text that is signed, and an option by its name."""
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@cache
def pages() -> list[Path]:
    """Return every page that is part of the repository, or about to be."""
    # a template of a page is none; what links of the site lead to is asked of the site
    kinds = ["*.md", ":!benchmarks/*", ":!gateway/*"]
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


def told(page: Path) -> list[str]:
    """Return each command of the gateway that a page gives to type, alone or inside of another."""
    code = "\n".join(_CODE.findall(page.read_text()))
    lines = re.findall(r"(?:^|[\s`'$(])(gateway [a-z]+[^`\n]*)", code)
    typed = [re.split(r" +#|&&|;| &$|'|\|", line)[0].rstrip("\\ ") for line in lines]
    return [line for line in typed if not line.startswith(NOT_TYPED)]


def test_commands_can_be_typed():
    folders = [ROOT / "docs" / name for name in ("decisions", "benchmarks", "development")]
    typed = [
        (page.name, line)
        for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
        if not any(page.is_relative_to(folder) for folder in folders)
        for line in told(page)
    ]
    assert len(typed) > 150
    assert [(name, wrong) for name, line in typed if (wrong := flaw(line))] == []
