"""Search your own files by meaning: Qdrant keeps the vectors."""

import sys
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from openai import OpenAI
from qdrant_client import QdrantClient, models

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSIONS = 384
BATCH = 256  # inputs per request; up to 2,048 fit
COLLECTION = "passages"

api = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
qdrant = QdrantClient(
    path="qdrant"
)  # a folder; of a server: QdrantClient(url="http://...:6333")


def embed(inputs, input_type):
    """Return the vectors of the inputs, and their cost in nano-dollars."""
    response = api.embeddings.with_raw_response.create(
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


def ingest(folder):
    """Embed each text file of a folder; replace what was stored of it."""
    if not qdrant.collection_exists(COLLECTION):
        size = models.VectorParams(
            size=DIMENSIONS, distance=models.Distance.COSINE
        )
        qdrant.create_collection(COLLECTION, vectors_config=size)
    passages, cost = 0, 0
    for path in sorted(Path(folder).glob("*.txt")):
        bodies = split(path.read_text())
        points = []
        for start in range(0, len(bodies), BATCH):
            batch = bodies[start : start + BATCH]
            vectors, batch_cost = embed(batch, "document")
            cost += batch_cost
            for number, (body, vector) in enumerate(
                zip(batch, vectors, strict=True), start
            ):
                name = str(uuid5(NAMESPACE_URL, f"{path.name}#{number}"))
                payload = {"source": path.name, "body": body}
                points.append(
                    models.PointStruct(
                        id=name, vector=vector, payload=payload
                    )
                )
        of_this_file = models.FieldCondition(
            key="source", match=models.MatchValue(value=path.name)
        )
        qdrant.delete(COLLECTION, models.Filter(must=[of_this_file]))
        qdrant.upsert(COLLECTION, points)
        passages += len(points)
    print(f"{passages} passages, ${cost / 1e9:.9f}")


def search(question):
    """Return the passages that are closest to a question in meaning."""
    (vector,), _ = embed([question], "query")
    return qdrant.query_points(COLLECTION, query=vector, limit=3).points


def prompt(question, found):
    """Return what to send to the language model of your choice."""
    passages = "\n\n".join(
        f"[{one.payload['source']}] {one.payload['body']}" for one in found
    )
    return (
        "Answer the question from these passages only, and name the file "
        "that you used. If they don't answer it, say so.\n\n"
        f"{passages}\n\nQuestion: {question}"
    )


command, argument = sys.argv[1:]
if command == "ingest":
    ingest(argument)
elif command == "search":
    for one in search(argument):
        print(f"{one.score:.2f}  {one.payload['source']}")
elif command == "prompt":
    print(prompt(argument, search(argument)))
qdrant.close()
