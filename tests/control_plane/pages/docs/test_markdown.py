"""Markdown as parts of a page."""

import re

import pytest

from gateway.control_plane.pages.docs import markdown
from gateway.control_plane.pages.docs.markdown import Code, Passage, Tabs


def html(source: str) -> str:
    return "".join(part for part in markdown.read(source).parts if isinstance(part, str))


def test_what_looks_like_html_is_text():
    assert "&lt;script&gt;" in html("a <script> b\n\n<script>x</script>\n")
    assert "<script" not in html("a <script> b\n\n<script>x</script>\n")
    assert "javascript:" not in html("[x](javascript:alert)").replace("(javascript:alert)", "")


def test_headings_have_anchors_that_are_theirs_alone():
    article = markdown.read(
        "## A `b` c\n\n### Body\n\n## Two {#own}\n\n### Body\n\n### `snake_case`\n"
    )
    assert [(one.level, one.id, one.words) for one in article.headings] == [
        (2, "a-b-c", "A b c"), (3, "body", "Body"), (2, "own", "Two"), (3, "own-body", "Body"),
        (3, "snake_case", "snake_case"),
    ]  # fmt: skip
    (page,) = article.parts
    assert '<h2 id="own">Two <a class="anchor" href="#own" aria-label="Link to “Two”">' in page
    assert article.headings[-1].breakable == "snake_<wbr>case"
    assert (
        markdown.plain("## Two {#own}\n\n\n[a](/b)\n", "http://h") == "## Two\n\n[a](http://h/b)\n"
    )
    with pytest.raises(ValueError, match="two headings"):
        markdown.read("## A {#x}\n\n## B {#x}\n")


def test_code_stands_between_the_parts_even_inside_a_list():
    before, code, after = markdown.read("1. one\n\n   ```python a.py\n   x = 1\n   ```\n").parts
    assert before.endswith("<p>one</p>\n")
    assert isinstance(code, Code)
    assert code.snippet == ("code-1", "a.py", "python", "x = 1")
    assert after == "</li>\n</ol>\n"
    with pytest.raises(ValueError, match="cobol"):
        markdown.read("```cobol\n```\n")


def test_neighbors_with_a_tab_are_one_set():
    source = "```bash tab: curl\na\n```\n\n```python tab: Python\nb\n```\n\n```json\n{}\n```\n"
    tabs, code, _ = markdown.read(source).parts
    assert isinstance(tabs, Tabs)
    assert [(one.slug, one.name, one.code) for one in tabs.snippets] == [
        ("curl", "curl", "a"), ("python", "Python", "b"),
    ]  # fmt: skip
    assert isinstance(code, Code)


def test_tables_scroll_in_a_box_and_hold_no_style():
    page = html("## Prices\n\n| a | b | c |\n| --- | ---: | --- |\n| 1 | 2 | 3 |\n")
    assert 'role="region" aria-label="Prices"><table class="rows">' in page
    assert '<td data-label="b" class="number">2</td>' in page
    assert "style=" not in page
    assert '<th scope="col" class="number">b</th>' in page


def test_tables_are_named_by_the_heading_above_and_numbered_from_the_second():
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n"
    page = html(f"{table}## Prices\n\n{table}{table}## Limits\n\n{table}")
    assert re.findall(r'aria-label="([\w ,]+)"><table>', page) == [
        "Overview", "Prices", "Prices, 2", "Limits",
    ]  # fmt: skip


def test_a_notice_terms_and_the_opening_have_classes():
    assert html("A.\n\nB.\n") == '<p class="lede">A.</p>\n<p>B.</p>\n'
    assert html("> A.\n") == '<blockquote class="notice">\n<p>A.</p>\n</blockquote>\n'
    assert html("- **a** b\n- c\n").startswith('<ul class="fields">')
    assert html("- a **b**\n").startswith("<ul>")  # one that only says something loudly


def test_a_piece_of_html_ends_with_all_its_elements():
    article = markdown.read("```bash\na\n```\n\n```bash tab: b\nb\n```\n\n- c\n")
    code, tabs, after = article.parts
    assert (code.snippet.slug, tabs.prefix, after) == (
        "code-1",
        "tabs-2",
        "<ul>\n<li>c</li>\n</ul>\n",
    )


def test_passages_are_the_words_below_each_heading():
    source = "Lede.\n\n## One\n\n- **a** b\n\n```bash\nls  -l top_k\n```\n\n## Two\n"
    assert markdown.read(source).passages == (
        Passage("", "", "Lede."), Passage("one", "One", "a b top_k"), Passage("two", "Two", ""),
    )  # fmt: skip
