"""How to call a model, in three languages, coloured on the server."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from markupsafe import Markup
from pygments import highlight as colour
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

_FORMATTER = HtmlFormatter(nowrap=True, classprefix="t-")


class Snippet(NamedTuple):
    """A piece of code; `slug` is unique on its page."""

    slug: str
    name: str
    lexer: str
    code: str


def calls(
    public_url: str, model_id: str, *, key: str = "$API_KEY", prompt: str | None = None
) -> list[Snippet]:
    """Return a call of the model in curl, Python and JavaScript."""
    return [
        Snippet("curl", "curl", "bash", curl(public_url, model_id, key=key, prompt=prompt)),
        Snippet("python", "Python", "python", _python(public_url, model_id, prompt)),
        Snippet(
            "javascript", "JavaScript", "javascript", _javascript(public_url, model_id, prompt)
        ),
    ]


def curl(
    public_url: str, model_id: str, *, key: str = "$API_KEY", prompt: str | None = None
) -> str:
    """Return a command that can be pasted into a shell."""
    extra = f',\n    "prompt_name": "{prompt}"' if prompt else ""
    return (
        f"curl {public_url}/v1/embeddings \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        "  -d '{\n"
        f'    "model": "{model_id}",\n'
        f'    "input": "Hello, world"{extra}\n'
        "  }'"
    )


@lru_cache(maxsize=512)
def highlight(code: str, lexer: str) -> Markup:
    """Colour code. The lexer escapes what it reads. Kept in memory: give it no secrets."""
    return Markup(colour(code, get_lexer_by_name(lexer), _FORMATTER))  # noqa: S704


def _python(public_url: str, model_id: str, prompt: str | None) -> str:
    extra = f'\n    extra_body={{"prompt_name": "{prompt}"}},' if prompt else ""
    return (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{public_url}/v1", api_key="$API_KEY")\n'
        "answer = client.embeddings.create(\n"
        f'    model="{model_id}",\n'
        f'    input=["Hello, world"],{extra}\n'
        ")\n"
        "print(answer.data[0].embedding)"
    )


def _javascript(public_url: str, model_id: str, prompt: str | None) -> str:
    extra = f'\n  prompt_name: "{prompt}",' if prompt else ""
    return (
        'import OpenAI from "openai";\n\n'
        f'const client = new OpenAI({{ baseURL: "{public_url}/v1", apiKey: "$API_KEY" }});\n'
        "const answer = await client.embeddings.create({\n"
        f'  model: "{model_id}",\n'
        f'  input: ["Hello, world"],{extra}\n'
        "});\n"
        "console.log(answer.data[0].embedding);"
    )
