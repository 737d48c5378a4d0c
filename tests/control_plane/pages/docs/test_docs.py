"""The documentation, held against the code that it speaks of."""

import ast
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import msgspec
import pytest

import gateway
from gateway import money
from gateway.control_plane.billing.api import OPERATIONS
from gateway.control_plane.catalog.elsewhere import offers
from gateway.control_plane.pages.docs import reference
from gateway.control_plane.pages.docs.facts import COMMON, limits
from gateway.control_plane.pages.storefront import status_feeds
from gateway.control_plane.web import snippets
from gateway.control_plane.web.client_snippets import clients
from gateway.data_plane.api import openapi
from gateway.data_plane.api.requests import EmbeddingsRequest
from gateway.errors import GatewayError, documented
from gateway.money import Nanos
from gateway.settings import describe
from testing.browsing import Browser
from testing.gateways import settings
from tests.control_plane.conftest import MINILM

_ROOT = Path(gateway.__file__).parent
_ANSWERING = [
    _ROOT / "app" / "errors.py",
    *sorted((_ROOT / "data_plane").rglob("*.py")),
    *sorted((_ROOT / "control_plane" / "billing").rglob("*.py")),
    *sorted((_ROOT / "control_plane" / "receipts").rglob("*.py")),
    *sorted((_ROOT / "storage").rglob("*.py")),
]
_INTERNAL = {
    "registration.py",  # /internal: for workers, not for customers
    "grants.py",  # `gateway credits`: for operators
}


def descendants(kind: type[GatewayError]) -> set[type[GatewayError]]:
    return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))


def raised(file: Path) -> Iterator[tuple[int, str | None]]:
    """Find each status and code that a file can answer with: where an error is made."""
    kinds = {kind.__name__: kind for kind in descendants(GatewayError)}
    for node in ast.walk(ast.parse(file.read_text())):
        name = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        )
        if kind := kinds.get(name):
            yield kind.status, kind.code


async def test_common_errors_come_first_within_their_status(browser: Browser):
    page = (await browser.get("/docs/errors.md")).text
    paying = page.partition("## 402")[2].partition("## 403")[0]
    assert re.findall(r"### `(\w+)`", paying) == [
        "insufficient_quota", "key_budget_exceeded", "account_disputed", "account_owing",
    ]  # fmt: skip
    assert "/console/billing)" in paying
    assert set(COMMON) <= {kind.code for kind in documented()}


async def test_the_guide_from_openai_compares_what_the_price_list_has(browser: Browser):
    guide = (await browser.get("/docs/from-openai.md")).text
    small, large = (
        next(one for one in offers() if one.model == f"text-embedding-3-{size}")
        for size in ("small", "large")
    )
    assert f"| Max input | {small.tokens_max:,} tokens | {large.tokens_max:,} tokens |" in guide
    assert f"| Dimensions | {small.dimensions:,} | {large.dimensions:,} |" in guide
    prices = [f"${one.nanos_per_million_tokens / 1e9:.2f}" for one in (small, large)]
    assert f"| Price per million tokens | {prices[0]} | {prices[1]} |" in guide
    assert f"read up to {small.tokens_max:,} tokens" in guide


def test_every_code_of_the_api_is_documented_once():
    found: set[tuple[int, str | None]] = set()
    for file in _ANSWERING:
        if file.name not in _INTERNAL:
            found |= set(raised(file))
    listed = Counter((kind.status, kind.code) for kind in documented())
    assert set(listed) == found
    assert set(listed.values()) == {1}
    for code in ("unknown_token_ids", "invalid_json", "would_miss_deadline", "expired_api_key"):
        assert code in {code for _, code in found}


async def test_the_page_of_errors_says_what_to_do(browser: Browser):
    page = (await browser.get("/docs/errors")).text
    codes = re.findall(r'<h3 id="(\w+)"><code>\1</code>', page)
    assert sorted(codes) == sorted(kind.code for kind in documented() if kind.code)
    assert page.count("· not charged") == len(documented())
    assert "announcement_refused" not in page
    assert "`" not in page


async def test_the_reference_is_the_document_that_is_served(browser: Browser):
    served = (await browser.get("/openapi.json")).json()
    assert served == msgspec.to_builtins(
        reference.document("http://127.0.0.1:8080", [status_feeds.OPERATION])
    )
    page = (await browser.get("/docs/reference")).text
    text = unescape(page)
    for path, operations in served["paths"].items():
        for method, operation in operations.items():
            if method not in ("get", "post"):
                continue
            assert f"<code>{method.upper()} {path}</code>" in page
            section = text.partition(f'id="{operation["operationId"]}"')[2].partition("<h2")[0]
            for parameter in operation["parameters"]:
                assert f"<code>{parameter['name']}</code>" in section
                assert reference.rich(parameter["description"]).unescape() in section
            for name in operation["responses"]["200"]["headers"]:
                assert f"<code>{name}</code>" in section
            for status in operation["responses"]:
                assert status == "200" or f"#status-{status}" in section
    for name, schema in served["components"]["schemas"].items():
        for field, described in schema["properties"].items():
            assert re.search(rf"<code>(?:[\w\[\]]+\.)*{field}</code>", page), (name, field)
            assert reference.rich(described.get("description", "")).unescape() in text
    assert '"float"' in text
    assert "`" not in page


def test_a_body_that_two_operations_share_is_shown_once():
    found = {entry.path: entry for entry in reference.entries("http://gateway")}
    assert found["/v1/embeddings"].body
    assert not found["/v1/embeddings/estimate"].body
    assert found["/v1/embeddings/estimate"].same_body_as == "createEmbeddings"


@pytest.mark.parametrize("operation", [*openapi.OPERATIONS, *OPERATIONS], ids=lambda one: one.path)
def test_examples_are_what_the_schemas_say(operation: openapi.Operation):
    def read(kind: type[Nanos], written: str) -> Nanos:
        assert isinstance(written, str)
        return kind(written)

    kind = type(operation.answer)
    body = money.encode(operation.answer)
    assert msgspec.json.decode(body, type=kind, dec_hook=read) == operation.answer
    if operation.body:
        msgspec.convert(operation.body, EmbeddingsRequest)


async def test_limits_have_units_and_no_settings_prose(browser: Browser):
    page = (await browser.get("/docs/limits")).text
    for said in ["2,048 inputs", "4 MiB", "30 seconds", "300,000 tokens", "512 requests"]:
        assert said in page, said
    assert "GATEWAY_" not in page


async def test_every_example_reads_the_key_from_the_same_variable(browser: Browser):
    readme = (_ROOT.parent / "README.md").read_text()
    assert snippets.VARIABLE in readme
    for path in ("/docs", "/docs/clients", f"/models/{MINILM}", "/"):
        page = unescape(re.sub(r"<[^>]+>", "", (await browser.get(path)).text))
        assert snippets.VARIABLE in page, path
        assert '"$API_KEY"' not in page
        assert f'"${snippets.VARIABLE}"' not in page
    page = (await browser.get("/docs/clients")).text
    for name in (
        "LangChain", "LangChain.js", "Vercel AI SDK", "LlamaIndex", "Haystack", "LiteLLM", "Chroma",
        "mem0", "Pydantic AI", "Semantic Kernel",
    ):  # fmt: skip
        assert f">{name} <a" in page
        assert f">{name}</a></td>" in page, "with its retries and its timeout"
    assert "raise_on_failure=True" in page


def test_python_examples_are_python():
    for snippet in [
        *snippets.calls("http://gateway", "m", prompt="p"),
        *snippets.calls("http://gateway", "m", key="sk-1"),
        *(client.snippet for client in clients("http://gateway", "m")),
    ]:
        if snippet.lexer == "python":
            ast.parse(snippet.code)


_NOT_OF_A_REQUEST = {
    # of pages, the console and mail
    "form_bytes_max", "calculations_per_hour", "experiments_per_hour",
    "experiments_in_all_per_hour", "sign_ins_per_hour",
    "status_views_per_hour", "votes_per_hour", "invitations_per_hour", "purchases_per_hour",
    "organization_keys_max", "organization_members_max",
    # of a connection
    "connections_max", "pipelined_max",
    # of keys that nobody knows
    "key_wait_seconds", "unknown_keys_per_minute",
    # of the money: not chosen by who sends a request
    "journal_bytes_max", "credit_wait_seconds",
}  # fmt: skip


def test_the_page_of_limits_names_all_that_can_refuse_a_request():
    """By the status that stands in the sentence of a setting."""
    chosen = settings("sqlite://")
    page = limits(chosen)
    for name, _, sentence in describe():
        field = name.removeprefix("GATEWAY_").lower()
        if not re.search(r"\((400|413|429|503|504)\)", sentence) or field in _NOT_OF_A_REQUEST:
            continue
        other = dataclasses.replace(chosen, **{field: getattr(chosen, field) * 2})
        assert limits(other) != page, field
