"""Every guide, followed step by step against a real gateway with a real model."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from standardwebhooks import Webhook

from gateway import money, wall
from gateway.control_plane.catalog import cards
from gateway.settings import Settings
from testing.gateways import SECRET
from testing.guides import CONTENT, SLUGS, follow, module, run, words
from testing.processes import Process
from tests.guides.conftest import Reader

pytestmark = pytest.mark.timeout(300)  # each command is a process that imports an SDK
QUESTION = "How long until I get my money back?"


def test_rag_with_pgvector(reader: Reader, tmp_path: Path):
    follow("rag-with-pgvector", tmp_path, reader.environment)


@pytest.mark.long
def test_rag_with_pgvector_again(reader: Reader, tmp_path: Path):
    follow("rag-with-pgvector", tmp_path, reader.environment)
    assert_answered(reader, tmp_path)


@pytest.mark.long
def test_rag_with_qdrant(served_reader: Reader, tmp_path: Path):
    follow("rag-with-qdrant", tmp_path, served_reader.environment)
    assert_answered(served_reader, tmp_path)


def assert_answered(reader: Reader, folder: Path) -> None:
    """Embed again, a longer file too, and get the right passage once."""
    (folder / "files" / "long.txt").write_text("A whale is no fish. " * 100)
    again = run("python rag.py ingest files", folder, reader.environment)
    assert again.startswith("7 passages")  # 500 words are four, of 150 that overlap by 30
    prompt = run(f"python rag.py prompt '{QUESTION}'", folder, reader.environment)
    assert prompt.count("[refunds.txt] Refunds go back to the card that paid.") == 1
    assert prompt.endswith(f"Question: {QUESTION}\n")


@pytest.mark.long
async def test_from_openai(reader: Reader, tmp_path: Path):
    database = await asyncpg.connect(reader.environment["DATABASE_URL"])
    await database.execute(
        "CREATE EXTENSION vector;"
        "CREATE TABLE documents (id int PRIMARY KEY, body text, embedding vector(1536));"
        "INSERT INTO documents SELECT n, 'Orders leave on working day ' || n,"
        " array_fill(0.1::real, ARRAY[1536])::vector FROM generate_series(1, 3) n"
    )
    follow("from-openai", tmp_path, reader.environment)
    assert await database.fetchval("SELECT max(vector_dims(embedding)) FROM documents") == 384
    await database.close()


@pytest.mark.long
def test_dimensions(reader: Reader, tmp_path: Path):
    follow("dimensions", tmp_path, reader.environment)


@pytest.mark.long
def test_batching(served_reader: Reader, tmp_path: Path):
    follow("batching", tmp_path, served_reader.environment)
    lines = (tmp_path / "vectors.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == list(range(1, 601))


def test_queries_and_documents(served_reader: Reader, tmp_path: Path):
    follow("queries-and-documents", tmp_path, served_reader.environment)


def test_retries(served_reader: Reader, tmp_path: Path):
    follow("retries", tmp_path, served_reader.environment)


def test_receipts(served_reader: Reader, tmp_path: Path):
    follow("receipts", tmp_path, served_reader.environment)
    body, proof = (tmp_path / "receipt.txt").read_text().strip().split(".")
    altered = ("A" if body[40] != "A" else "B").join([body[:40], body[41:]])
    run(f"python verify.py {altered}.{proof}", tmp_path, served_reader.environment, status=1)


def test_budgets(served_reader: Reader, tmp_path: Path):
    poor = served_reader.having(OPENAI_API_KEY=served_reader.poor_key)
    follow("budgets", tmp_path, poor.environment)


def test_data_handling(served_reader: Reader, tmp_path: Path):
    follow("data-handling", tmp_path, served_reader.environment)
    assert "Hello" not in (tmp_path / "usage.json").read_text()


def test_evaluate(served_reader: Reader, tmp_path: Path):
    follow("evaluate", tmp_path, served_reader.environment)
    ask = "echo n | python evaluate.py data sentence-transformers/all-MiniLM-L6-v2@384"
    said = run(ask, tmp_path, served_reader.environment)
    assert said == "4 documents, 3 queries: $0.000000984\nSpend it? [y/N] "


def test_scores_of_rankings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    score = module("evaluate/evaluate.py").score
    relevant = {"a": 2, "b": 1}
    assert score(["a", "b", "c"], relevant) == (1.0, 1.0)
    assert score(["c"], relevant) == (0.0, 0.0)
    ndcg, recall = score(["b", "c", "a"], relevant)
    assert ndcg == pytest.approx((1 + 3 / 2) / (3 + 1 / 1.584962500721156))
    assert recall == 1.0
    assert score(["b"], relevant)[1] == 0.5


@pytest.fixture
def receiver() -> Iterator[Process]:
    code = CONTENT / "code/budgets/webhook.py"
    environment = {"WEBHOOK_SECRET": f"whsec_{'c2VjcmV0' * 4}", "PORT": "0"}
    process = Process([sys.executable, str(code)], environment, stderr=subprocess.DEVNULL)
    yield process
    process.close()


def test_the_webhook_takes_what_we_signed_once(receiver: Process):
    data = {"key_name": "nightly", "percent": 80}
    body = json.dumps({"type": "budget.reached", "data": data})
    now = wall.now()
    signature = Webhook(f"whsec_{'c2VjcmV0' * 4}").sign("msg_1", now, body)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    sent = [(body, headers), (body, headers), (body.replace("80", "90"), headers)]
    statuses = [httpx.post(receiver.url, content=c, headers=h).status_code for c, h in sent]
    assert statuses == [204, 204, 400]
    receiver.kill()
    assert receiver.child.stdout
    assert receiver.child.stdout.read() == "nightly has used 80% of its budget\n"


class Unsteady:
    """A server that gives one status after the other, and what it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.keys: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.keys.add(request.headers["idempotency-key"])
        if not self.statuses[0]:
            del self.statuses[0]
            raise httpx.ConnectError("refused")
        status = self.statuses.pop(0)
        headers = {"retry-after": "7"} if status == 429 else {}
        error = {"code": "some_code", "message": "words"}
        return httpx.Response(status, headers=headers, json={"error": error})


def test_retries_wait_as_they_are_told(monkeypatch: pytest.MonkeyPatch):
    code = module("retries/embed.py")
    slept: list[float] = []
    monkeypatch.setattr(code.time, "sleep", slept.append)

    def embed(server: Unsteady) -> httpx.Response:
        with httpx.Client(
            transport=httpx.MockTransport(server), base_url="http://gateway"
        ) as client:
            made: httpx.Response = code.embed(client, ["Hello"])
            return made

    server = Unsteady(429, 0, 503, 200)
    assert embed(server).status_code == 200
    assert slept[0] == 7
    assert 1 <= slept[1] <= 2 <= slept[2] <= 4
    assert len(server.keys) == 1
    for status in (400, 401, 402, 404):
        with pytest.raises(code.Refused, match=f"{status} some_code"):
            embed(Unsteady(status))
    with pytest.raises(TimeoutError, match="after 5 tries"):
        embed(Unsteady(*[500] * 5))
    assert len(slept) == 3 + 4


def test_links_lead_to_pages():
    pages = {f"/docs/{path.stem}" for path in CONTENT.glob("*.md")}
    linked = {link for slug in SLUGS for link in re.findall(r"\]\((/docs/[a-z-]+)", words(slug))}
    assert linked - pages == set()


def test_every_guide_is_followed():
    tests = Path(__file__).read_text()
    assert [slug for slug in SLUGS if f'follow("{slug}", ' not in tests] == []


def test_prices_and_limits_are_those_of_the_product():
    card = next(card for card in cards.reviewed() if card.id.endswith("MiniLM-L6-v2"))
    regular = money.money(card.nanos_per_million_tokens)
    flex = money.money(card.flex_nanos_per_million_tokens)
    for slug in SLUGS:
        for price in re.findall(r"(\$[\d.]*\d) per million", words(slug)):
            assert price in {regular, flex}, f"{slug} says {price}"
    limits = Settings(secret=SECRET)
    for most in (limits.inputs_max, limits.request_tokens_max, limits.answer_floats_max):
        assert f"{most:,}" in words("batching")
    assert f"| {limits.organization_in_flight_max} for each" in words("batching")
    assert limits.replay_seconds == 60  # "about a minute"
