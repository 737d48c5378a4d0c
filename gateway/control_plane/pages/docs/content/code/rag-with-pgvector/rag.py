"""Search your own files by meaning, in PostgreSQL with pgvector."""

import asyncio
import json
import os
import sys
from pathlib import Path

import asyncpg
from openai import AsyncOpenAI

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 256  # inputs per request; up to 2,048 fit

SCHEMA = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS passages (
  source text,
  position int,
  body text NOT NULL,
  embedding vector(384) NOT NULL,
  PRIMARY KEY (source, position)
);
CREATE INDEX IF NOT EXISTS passages_by_meaning
  ON passages USING hnsw (embedding vector_cosine_ops);
"""
NEAREST = """
SELECT source, body, 1 - (embedding <=> $1) AS similarity
FROM passages ORDER BY embedding <=> $1 LIMIT 3
"""

api = AsyncOpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY


async def embed(inputs, input_type):
    """Return the vectors of the inputs, and their cost in nano-dollars."""
    response = await api.embeddings.with_raw_response.create(
        model=MODEL, input=inputs, extra_body={"input_type": input_type}
    )
    vectors = [item.embedding for item in response.parse().data]
    return vectors, int(response.headers["x-cost-nanos"])


def split(text, words=150, overlap=30):
    """Cut a text into passages that the model reads whole.

    It reads 256 tokens, which are about 190 words.
    """
    every = text.split()
    starts = range(0, max(len(every) - overlap, 1), words - overlap)
    return [" ".join(every[start : start + words]) for start in starts]


async def ingest(database, folder):
    """Embed each text file of a folder; replace what was stored of it."""
    passages, cost = 0, 0
    for path in sorted(Path(folder).glob("*.txt")):
        bodies = split(path.read_text())
        rows = []
        for start in range(0, len(bodies), BATCH):
            batch = bodies[start : start + BATCH]
            vectors, batch_cost = await embed(batch, "document")
            numbers = range(start, start + len(batch))
            rows += [
                (path.name, *row)
                for row in zip(numbers, batch, vectors, strict=True)
            ]
            cost += batch_cost
        async with database.transaction():
            await database.execute(
                "DELETE FROM passages WHERE source = $1", path.name
            )
            await database.executemany(
                "INSERT INTO passages VALUES ($1, $2, $3, $4)", rows
            )
        passages += len(rows)
    print(f"{passages} passages, ${cost / 1e9:.9f}")


async def search(database, question):
    """Return the passages that are closest to a question in meaning."""
    (vector,), _ = await embed([question], "query")
    return await database.fetch(NEAREST, vector)


def prompt(question, found):
    """Return what to send to the language model of your choice."""
    passages = "\n\n".join(
        f"[{row['source']}] {row['body']}" for row in found
    )
    return (
        "Answer the question from these passages only, and name the file "
        "that you used. If they don't answer it, say so.\n\n"
        f"{passages}\n\nQuestion: {question}"
    )


async def main(command, argument):
    """Run one of the three commands."""
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.execute(SCHEMA)
    await database.set_type_codec(
        "vector", schema="public", encoder=json.dumps, decoder=json.loads
    )
    if command == "ingest":
        await ingest(database, argument)
    elif command == "search":
        for row in await search(database, argument):
            print(f"{row['similarity']:.2f}  {row['source']}")
    elif command == "prompt":
        print(prompt(argument, await search(database, argument)))
    await database.close()


asyncio.run(main(*sys.argv[1:]))
