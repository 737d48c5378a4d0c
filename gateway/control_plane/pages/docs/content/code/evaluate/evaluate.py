"""Compare models or dimensions on your own data: nDCG@10 and recall@10.

Reads three files: documents.jsonl and queries.jsonl with {"id", "text"}
on each line, and relevance.jsonl with {"query", "document", "relevance"}.
A higher relevance is better, and what isn't listed has 0.
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
    return [
        json.loads(line)
        for line in path.read_text().splitlines()
        if line.strip()
    ]


def requests(candidate, lines, input_type):
    """Yield the bodies of the requests that embed all lines."""
    model, _, dimensions = candidate.partition("@")
    options = {"model": model, "input_type": input_type, "truncate": "end"}
    if dimensions:
        options["dimensions"] = int(dimensions)
    texts = [line["text"] for line in lines]
    for start in range(0, len(texts), BATCH):
        yield options | {"input": texts[start : start + BATCH]}


def price(bodies):
    """Return what requests would cost in nano-dollars. Asking is free."""
    cost = 0
    for body in bodies:
        estimate = api.post(
            "/embeddings/estimate", body=body, cast_to=object
        )
        cost += int(estimate["cost_nanos"])
    return cost


def embed(bodies):
    """Return the vectors of all inputs, in order."""
    vectors = []
    for body in bodies:
        ours = {n: body.pop(n) for n in ("input_type", "truncate")}
        response = api.embeddings.create(**body, extra_body=ours)
        vectors += [item.embedding for item in response.data]
    return np.array(vectors, dtype=np.float32)


def ranked(query, documents, ids):
    """Return the ids of the ten nearest; all vectors have length 1."""
    return [ids[at] for at in np.argsort(-(documents @ query))[:10]]


def gain(relevances):
    """Return the discounted cumulative gain of a ranking."""
    return sum(
        (2**r - 1) / math.log2(place + 2)
        for place, r in enumerate(relevances)
    )


def score(found, relevant):
    """Return nDCG@10 and recall@10; `relevant` maps ids to relevance."""
    ideal = gain(sorted(relevant.values(), reverse=True)[:10])
    hits = sum(document in relevant for document in found)
    return gain(relevant.get(one, 0) for one in found) / ideal, hits / len(
        relevant
    )


def main():
    """Price all candidates, ask, then embed and score each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "candidates", nargs="+", metavar="MODEL[@DIMENSIONS]"
    )
    parser.add_argument(
        "--yes", action="store_true", help="spend without asking"
    )
    options = parser.parse_args()

    documents = read(options.folder / "documents.jsonl")
    queries = read(options.folder / "queries.jsonl")
    relevance = {}
    for line in read(options.folder / "relevance.jsonl"):
        if line["relevance"] > 0:
            relevant = relevance.setdefault(line["query"], {})
            relevant[line["document"]] = line["relevance"]
    queries = [query for query in queries if query["id"] in relevance]

    work, prices = {}, {}
    for name in options.candidates:
        work[name] = [
            list(requests(name, documents, "document")),
            list(requests(name, queries, "query")),
        ]
        prices[name] = sum(map(price, work[name]))
    print(f"{len(documents)} documents, {len(queries)} queries:", end=" ")
    print(f"${sum(prices.values()) / 1e9:.9f}")
    if not options.yes and input("Spend it? [y/N] ") != "y":
        return

    print(" nDCG@10  recall@10           cost  candidate")
    ids = [document["id"] for document in documents]
    for name, bodies in work.items():
        vectors, asked = map(embed, bodies)
        scores = [
            score(ranked(vector, vectors, ids), relevance[query["id"]])
            for query, vector in zip(queries, asked, strict=True)
        ]
        ndcg, recall = np.mean(scores, axis=0)
        cost = f"${prices[name] / 1e9:.9f}"
        print(f"{ndcg:8.3f} {recall:10.3f} {cost:>14}  {name}")


if __name__ == "__main__":
    main()
