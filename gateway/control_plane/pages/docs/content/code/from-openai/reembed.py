"""Give a table of OpenAI vectors a column with those of another model.

Run it as often as you like: it goes on where it stopped, and searches
keep using the old column until you rename the new one.
"""

import asyncio
import json
import os

import asyncpg
from openai import AsyncOpenAI

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 256

ADD_COLUMN = """
ALTER TABLE documents ADD COLUMN IF NOT EXISTS embedding_new vector(384)
"""
NEXT = """
SELECT id, body FROM documents
WHERE embedding_new IS NULL ORDER BY id LIMIT $1
"""
STORE = "UPDATE documents SET embedding_new = $2 WHERE id = $1"

api = AsyncOpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY


async def main():
    """Fill the new column."""
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.execute(ADD_COLUMN)
    await database.set_type_codec(
        "vector", schema="public", encoder=json.dumps, decoder=json.loads
    )
    rows, cost = 0, 0
    while batch := await database.fetch(NEXT, BATCH):
        response = await api.embeddings.with_raw_response.create(
            model=MODEL,
            input=[row["body"] for row in batch],
            extra_body={"truncate": "end"},
        )
        vectors = (item.embedding for item in response.parse().data)
        ids = (row["id"] for row in batch)
        await database.executemany(STORE, zip(ids, vectors, strict=True))
        rows, cost = (
            rows + len(batch),
            cost + int(response.headers["x-cost-nanos"]),
        )
    print(f"{rows} rows, ${cost / 1e9:.9f}")
    await database.close()


asyncio.run(main())
