"""Compare models or dimensions on your own data: nDCG@10 and recall@10.

Reads three files: documents.jsonl and queries.jsonl with {"id", "text"} on each line, and
relevance.jsonl with {"query", "document", "relevance"}, where a higher relevance is better and
whatever isn't listed has 0.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from openai import OpenAI

BATCH = 256
api = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY


def read(path):
    """Return the objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def requests(model, dimensions, texts, input_type):
    """Yield the bodies of the requests that embed all texts."""
    options = {"model": model, "input_type": input_type, "truncate": "end"}
    if dimensions:
        options["dimensions"] = dimensions
    for start in range(0, len(texts), BATCH):
        yield options | {"input": texts[start : start + BATCH]}


def price(bodies):
    """Return what requests would cost in nano-dollars. Asking is free."""
    estimates = (api.post("/embeddings/estimate", body=body, cast_to=object) for body in bodies)
    return sum(int(estimate["cost_nanos"]) for estimate in estimates)


def embed(bodies):
    """Return the vectors of all inputs, in order."""
    vectors = []
    for body in bodies:
        own = {name: body.pop(name) for name in ("input_type", "truncate")}
        vectors += [item.embedding for item in api.embeddings.create(**body, extra_body=own).data]
    return np.array(vectors, dtype=np.float32)


def ranked(query, documents, ids):
    """Return the ids of the ten nearest documents. All vectors have length 1."""
    return [ids[at] for at in np.argsort(-(documents @ query))[:10]]


def gain(relevances):
    """Return the discounted cumulative gain of a ranking."""
    return sum((2**r - 1) / math.log2(place + 2) for place, r in enumerate(relevances))


def score(found, relevant):
    """Return nDCG@10 and recall@10 of one query; `relevant` maps ids to their relevance."""
    ideal = gain(sorted(relevant.values(), reverse=True)[:10])
    hits = sum(document in relevant for document in found)
    return gain(relevant.get(one, 0) for one in found) / ideal, hits / len(relevant)


def main():
    """Price all candidates, ask, then embed and score each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("candidates", nargs="+", metavar="MODEL[@DIMENSIONS]")
    parser.add_argument("--yes", action="store_true", help="spend without asking")
    options = parser.parse_args()

    documents, queries = (read(options.folder / f"{n}.jsonl") for n in ("documents", "queries"))
    relevance = {}
    for line in read(options.folder / "relevance.jsonl"):
        if line["relevance"] > 0:
            relevance.setdefault(line["query"], {})[line["document"]] = line["relevance"]
    queries = [query for query in queries if query["id"] in relevance]

    work = {}
    for name in options.candidates:
        model, _, asked = name.partition("@")
        dimensions = int(asked) if asked else None
        work[name] = [
            list(requests(model, dimensions, [one["text"] for one in texts], input_type))
            for texts, input_type in ((documents, "document"), (queries, "query"))
        ]
    prices = {name: sum(map(price, bodies)) for name, bodies in work.items()}
    print(f"{len(documents)} documents, {len(queries)} queries: ${sum(prices.values()) / 1e9:.9f}")
    if not options.yes and input("Spend it? [y/N] ") != "y":
        return

    print(f"{'nDCG@10':>8} {'recall@10':>10} {'cost':>14}  candidate")
    ids = [document["id"] for document in documents]
    for name, (of_documents, of_queries) in work.items():
        vectors = embed(of_documents)
        scores = [
            score(ranked(vector, vectors, ids), relevance[query["id"]])
            for query, vector in zip(queries, embed(of_queries), strict=True)
        ]
        ndcg, recall = (sum(column) / len(scores) for column in zip(*scores, strict=True))
        print(f"{ndcg:8.3f} {recall:10.3f} {f'${prices[name] / 1e9:.9f}':>14}  {name}")


if __name__ == "__main__":
    main()
