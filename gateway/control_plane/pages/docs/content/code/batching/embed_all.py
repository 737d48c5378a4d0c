"""Embed a file of any length, a few large requests at a time.

Reads inputs.jsonl with {"id", "text"} on each line, and appends
{"id", "embedding"} to vectors.jsonl. Start it again after an
interruption: what is done is not paid for again.
"""

import asyncio
import json
from pathlib import Path

from openai import AsyncOpenAI

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 256  # inputs per request
AT_ONCE = 4  # requests
OUTPUT = Path("vectors.jsonl")

# after a 429 the client waits for Retry-After, then tries again
api = AsyncOpenAI(max_retries=10, timeout=120)


async def embed(batch, output):
    """Embed one batch, and write its vectors."""
    response = await api.embeddings.with_raw_response.create(
        model=MODEL,
        input=[line["text"] for line in batch],
        extra_body={"service_tier": "flex", "truncate": "end"},
    )
    vectors = response.parse().data
    for line, item in zip(batch, vectors, strict=True):
        output.write(
            json.dumps({"id": line["id"], "embedding": item.embedding})
            + "\n"
        )
    output.flush()
    return len(batch), int(response.headers["x-cost-nanos"])


async def main():
    """Embed what is not in the output yet."""
    done = set()
    if OUTPUT.exists():
        done = {
            json.loads(line)["id"]
            for line in OUTPUT.read_text().splitlines()
        }
    lines = [
        json.loads(line)
        for line in Path("inputs.jsonl").read_text().splitlines()
    ]
    lines = [line for line in lines if line["id"] not in done]
    lines.sort(
        key=lambda line: len(line["text"])
    )  # inputs of one length are the fastest together
    batches = iter(
        [
            lines[start : start + BATCH]
            for start in range(0, len(lines), BATCH)
        ]
    )
    inputs, cost = 0, 0

    async def worker(output):
        nonlocal inputs, cost
        for batch in batches:
            embedded, nanos = await embed(batch, output)
            inputs, cost = inputs + embedded, cost + nanos

    with OUTPUT.open("a") as output:
        await asyncio.gather(*(worker(output) for _ in range(AT_ONCE)))
    print(f"{inputs} inputs, ${cost / 1e9:.9f}")


asyncio.run(main())
