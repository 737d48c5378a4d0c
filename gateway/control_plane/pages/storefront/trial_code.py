"""A trial of the playground as code that does the same: curl, Python and JavaScript."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.control_plane.pages.storefront.trials import Trial
from gateway.control_plane.web.snippets import VARIABLE, Snippet

_PYTHON = """\
import os

from openai import OpenAI

client = OpenAI(base_url={url}, api_key=os.environ["{variable}"])
"""
_PYTHON_SIMILARITY = """\
response = client.embeddings.create(
{arguments})
vectors = [item.embedding for item in response.data]
for one in vectors:  # each has length 1, so a dot product is the cosine
    print(*(f"{{sum(a * b for a, b in zip(one, other)):.2f}}" for other in vectors))
"""
_PYTHON_SEARCH = """\
query = {query}
passages = {passages}


def embed(inputs{kind}):
    response = client.embeddings.create(
{arguments}    )
    return [item.embedding for item in response.data]


(asked,) = embed([query]{as_query})
vectors = embed(passages{as_document})
# each has length 1, so a dot product is the cosine
scores = [sum(a * b for a, b in zip(asked, vector)) for vector in vectors]
for score, passage in sorted(zip(scores, passages), reverse=True):
    print(f"{{score:.2f}}  {{passage}}")
"""
_JAVASCRIPT = """\
import OpenAI from "openai";

const client = new OpenAI({{
  baseURL: {url},
  apiKey: process.env.{variable},
}});
// each vector has length 1, so a dot product is the cosine
const cosine = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);
"""
_JAVASCRIPT_SIMILARITY = """\
const response = await client.embeddings.create({body});
const vectors = response.data.map((item) => item.embedding);
for (const one of vectors) {{
  console.log(...vectors.map((other) => cosine(one, other).toFixed(2)));
}}
"""
_JAVASCRIPT_SEARCH = """\
const embed = async (body) => {{
  const response = await client.embeddings.create(body);
  return response.data.map((item) => item.embedding);
}};
const passages = {passages};
const [asked] = await embed({query_body});
const vectors = await embed({passages_body});
const ranked = passages.map((passage, at) => [cosine(asked, vectors[at]), passage]);
for (const [score, passage] of ranked.sort((one, other) => other[0] - one[0])) {{
  console.log(score.toFixed(2), passage);
}}
"""


def similarity(
    public_url: str, trial: Trial, sentences: Sequence[str], prompt: str | None
) -> list[Snippet]:
    """Write a comparison of sentences."""
    own = {"prompt_name": prompt} if prompt else {}
    body = _body(trial, list(sentences), own)
    url = json.dumps(f"{public_url}/v1")
    arguments = _arguments(trial, _literal(list(sentences), 4), own, indent=4)
    return _snippets(
        _curl(public_url, body),
        _PYTHON.format(url=url, variable=VARIABLE) + _PYTHON_SIMILARITY.format(arguments=arguments),
        _JAVASCRIPT.format(url=url, variable=VARIABLE)
        + _JAVASCRIPT_SIMILARITY.format(body=_literal(body)),
    )


def search(
    public_url: str, trial: Trial, query: str, passages: Sequence[str], *, prompted: bool
) -> list[Snippet]:
    """Write a search: both requests, and the ranking."""
    kinds = [{"input_type": kind} if prompted else {} for kind in ("query", "document")]
    bodies = [
        _body(trial, inputs, kind)
        for inputs, kind in zip(([query], list(passages)), kinds, strict=True)
    ]
    url = json.dumps(f"{public_url}/v1")
    kind = ", input_type" if prompted else ""
    own = {"input_type": _Name("input_type")} if prompted else {}
    return _snippets(
        "\n\n".join(_curl(public_url, body) for body in bodies),
        _PYTHON.format(url=url, variable=VARIABLE)
        + _PYTHON_SEARCH.format(
            query=_literal(query),
            passages=_literal(list(passages)),
            kind=kind,
            arguments=_arguments(trial, "inputs", own, indent=8),
            as_query=', "query"' if prompted else "",
            as_document=', "document"' if prompted else "",
        ),
        _JAVASCRIPT.format(url=url, variable=VARIABLE)
        + _JAVASCRIPT_SEARCH.format(
            passages=_literal(list(passages)),
            query_body=_literal(bodies[0]),
            passages_body=_literal(bodies[1]),
        ),
    )


class _Name(str):
    """A name of Python, not a text."""

    __slots__ = ()


def _snippets(curl: str, python: str, javascript: str) -> list[Snippet]:
    return [
        Snippet("curl", "curl", "bash", curl),
        Snippet("python", "Python", "python", python.rstrip()),
        Snippet("javascript", "JavaScript", "javascript", javascript.rstrip()),
    ]


def _options(trial: Trial) -> dict[str, int]:
    model, dimensions = trial.candidate.listing.model, trial.candidate.dimensions
    return {} if dimensions == model.dimensions_default else {"dimensions": dimensions}


def _own(trial: Trial, own: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that OpenAI's API lacks."""
    return {**own, **({"truncate": "end"} if trial.cut else {})}


def _body(trial: Trial, inputs: list[str], own: Mapping[str, str]) -> dict[str, Any]:
    model_id = trial.candidate.listing.model.id
    return {"model": model_id, "input": inputs, **_options(trial), **_own(trial, own)}


def _arguments(trial: Trial, inputs: str, own: Mapping[str, str], *, indent: int) -> str:
    """Write the arguments of a call in Python."""
    given = {
        "model": _literal(trial.candidate.listing.model.id),
        "input": inputs,
        **{name: str(value) for name, value in _options(trial).items()},
    }
    if fields := _own(trial, own):
        pairs = (f'"{n}": {v if isinstance(v, _Name) else _literal(v)}' for n, v in fields.items())
        given["extra_body"] = f"{{{', '.join(pairs)}}}"
    return "".join(f"{' ' * indent}{name}={value},\n" for name, value in given.items())


def _literal(value: object, indent: int = 0) -> str:
    """Write JSON, which is a literal of Python and JavaScript too."""
    return json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n" + " " * indent)


def _curl(public_url: str, body: Mapping[str, Any]) -> str:
    quoted = _literal(body, 2).replace("'", "'\\''")
    return (
        f"curl {public_url}/v1/embeddings \\\n"
        f'  -H "Authorization: Bearer ${VARIABLE}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{quoted}'"
    )
