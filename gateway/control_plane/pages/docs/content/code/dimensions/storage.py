"""Measure what a vector takes with 32 and 16 bits, and what 16 lose."""

import asyncio
import json
import os

import asyncpg
from openai import AsyncOpenAI

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSIONS = 384
TOPICS = ("whales", "tax law", "bread", "comets")
INPUTS = [
    f"Chapter {number} of a book about {topic}"
    for number in range(25)
    for topic in TOPICS
]

TABLES = f"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TEMPORARY TABLE measured (
  id int, full_size vector({DIMENSIONS}), half_size halfvec({DIMENSIONS})
);
"""
SIZES = """
SELECT pg_column_size($1::text::vector) AS full_size,
       pg_column_size($1::text::halfvec) AS half_size
"""
FULL = """
SELECT id FROM measured
ORDER BY full_size <=> $1::text::vector LIMIT 10
"""
HALF = """
SELECT id FROM measured
ORDER BY half_size <=> $1::text::halfvec LIMIT 10
"""


async def main():
    """Store a hundred vectors in both types, and compare."""
    response = await AsyncOpenAI().embeddings.create(
        model=MODEL, input=INPUTS
    )
    vectors = [json.dumps(item.embedding) for item in response.data]
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.execute(TABLES)
    await database.executemany(
        "INSERT INTO measured "
        "VALUES ($1, $2::text::vector, $2::text::halfvec)",
        enumerate(vectors),
    )
    sizes = await database.fetchrow(SIZES, vectors[0])
    kept = 0
    for vector in vectors:
        full = {row["id"] for row in await database.fetch(FULL, vector)}
        kept += len(
            full & {row["id"] for row in await database.fetch(HALF, vector)}
        )
    print(f"vector({DIMENSIONS})   {sizes['full_size']} bytes")
    print(f"halfvec({DIMENSIONS})  {sizes['half_size']} bytes")
    print(f"{kept / len(vectors) / 10:.0%} of the ten nearest are the same")
    await database.close()


asyncio.run(main())
