"""Search of the site: thirty things that developers ask, and where the answer is."""

from functools import cache

import pytest

from gateway.control_plane.pages.docs.index import Entry, Index, marked, stems
from gateway.control_plane.pages.docs.manual import Manual
from testing.browsing import Browser
from testing.gateways import settings
from tests.control_plane.conftest import MINILM
from tests.control_plane.pages.docs.test_legal import FILLED

ASKED = {
    "what does 402 mean": "/docs/errors",
    "price of my corpus": "/calculator",
    "migrate from openai": "/docs/from-openai",
    "uptime": "/status",
    "how much does it cost to embed 1 million documents": "/calculator",
    "rate limits": "/docs/limits",
    "429 too many requests": "/docs/errors",
    "retry after": "/docs/retries",
    "idempotency key": "/docs/receipts",
    "pgvector": "/docs/rag-with-pgvector",
    "qdrant": "/docs/rag-with-qdrant",
    "rag tutorial postgres": "/docs/rag-with-pgvector",
    "langchain": "/docs/clients",
    "llamaindex embeddings": "/docs/clients",
    "reduce dimensions matryoshka": "/docs/dimensions",
    "query prompt vs document": "/docs/queries-and-documents",
    "input_type query": "/docs/queries-and-documents",
    "batch size": "/docs/batching",
    "max input length": "/docs/limits",
    "context_length_exceeded": "/docs/errors",
    "insufficient_quota": "/docs/errors",
    "verify a receipt": "/docs/receipts",
    "limit spend per key": "/docs/budgets",
    "do you store my data": "/docs/data-handling",
    "evaluate on my own data": "/docs/evaluate",
    "get an api key": "/console/keys",
    "what is a token": "/docs/tokens",
    "x-cost-nanos": "/docs/quickstart",
    "estimate endpoint": "/docs/reference",
    "list models api": "/docs/reference",
    "request a missing model": "/ask",
    "latency": "/status",
}


@cache
def index() -> Index:
    return Manual(settings("sqlite://"))._index(MINILM, 256)


@cache
def filled() -> Index:
    return Manual(settings("sqlite://", **FILLED))._index(MINILM, 256)


@pytest.mark.parametrize("question", ASKED)
def test_the_right_page_is_among_the_first_three(question: str):
    found = [one.entry.address.partition("#")[0] for one in index().search(question)]
    assert ASKED[question] in list(dict.fromkeys(found))[:3], found


LEGAL = {
    "VAT": "/terms",
    "refund": "/terms",
    "SLA": "/terms",
    "invoice": "/terms",
    "privacy": "/privacy",
    "data processing agreement": "/privacy",
    "impressum": "/contact",
    "imprint": "/contact",
    "DPA": "/contact",
    "vulnerability": "/security",
    "German": "/models?q=languages",
}


@pytest.mark.parametrize("question", LEGAL)
def test_what_is_asked_before_buying_is_found_first(question: str):
    assert filled().search(question)[0].entry.address == LEGAL[question]


def test_the_sample_data_of_guides_is_not_found():
    assert not [one.entry for one in index().search("refunds") if "/docs/" in one.entry.address]


async def test_a_model_is_found_among_other_words(browser: Browser):
    for query in ("price of bge-m3", "how many dimensions does bge-m3 have"):
        page = (await browser.get("/search", params={"q": query})).text
        assert 'href="/models/BAAI/bge-m3"' in page
    assert "Models</h2>" not in (await browser.get("/search?q=rate+limits")).text


def test_words_are_found_in_their_forms_and_codes_in_their_parts():
    assert stems("Retries and retried retrying") == ["retry", "retri", "retry"]
    assert stems("insufficient_quota") == ["insufficient_quota", "insufficient", "quota"]


def test_what_was_asked_is_marked_and_nothing_is_markup():
    snippet = marked("a <b>price</b> of <script> " + "x " * 50, {"pric": 1.0, "b": 1.0})
    assert "&lt;b&gt;price" in snippet
    assert "<mark>" in snippet
    assert "<script" not in snippet
    assert snippet.endswith(" …")


def test_rare_words_titles_and_short_sections_come_first():
    def first(query: str, *entries: Entry) -> str:
        return Index(entries).search(query)[0].entry.address

    common = [Entry(f"P{n}", "", f"/{n}", "alpha") for n in range(9)]
    assert first("alpha omega", *common, Entry("Q", "", "/rare", "omega")) == "/rare"
    long, short = Entry("L", "", "/long", "alpha" + " beta" * 50), Entry("S", "", "/short", "alpha")
    assert first("alpha", long, short) == "/short"
    assert first("alpha", short, Entry("Alpha", "", "/titled", "beta")) == "/titled"
    both = Entry("B", "", "/both", "alpha omega")
    assert first("alpha omega", Entry("O", "", "/often", "alpha " * 9), both) == "/both"


def test_at_most_two_sections_of_a_page_are_shown():
    many = Index(Entry("Page", f"S{n}", f"/p#{n}", "credit") for n in range(9))
    assert len(many.search("credit")) == 2
    assert not many.search("")
    assert not many.search("the of and")


async def test_search_needs_no_script_and_finds_models_too(browser: Browser):
    page = (await browser.get("/search?q=minilm")).text
    assert f'href="/models/{MINILM}"' in page
    page = (await browser.get("/search?q=what+does+402+mean")).text
    assert 'href="/docs/errors#status-402"' in page
    assert "<mark>" in page
    assert "Nothing found" in (await browser.get("/search?q=zzzzqq")).text
    assert "Nothing found" not in (await browser.get("/search")).text
    answer = await browser.get("/search?q=" + "a+" * 5_000)
    assert answer.status_code == 200
