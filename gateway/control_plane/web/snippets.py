"""Code that calls a model, in three languages, highlighted here."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from markupsafe import Markup
from pygments import highlight as to_markup
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

TEXT = "Hello, world"
VARIABLE = "OPENAI_API_KEY"
"""The variable that examples read the key from, as OpenAI's own clients do."""

_FORMATTER = HtmlFormatter(nowrap=True, classprefix="t-")


class Snippet(NamedTuple):
    """A piece of code; `slug` is unique on its page."""

    slug: str
    name: str
    lexer: str
    code: str


def calls(
    public_url: str, model_id: str, *, key: str | None = None, prompt: str | None = None
) -> list[Snippet]:
    """Return a call of the model in curl, Python and JavaScript.

    The code reads the key from the environment, or holds the `key` that is given.
    """
    python = _python(public_url, model_id, key=key, prompt=prompt)
    javascript = _javascript(public_url, model_id, key=key, prompt=prompt)
    shell = curl(public_url, model_id, key=key, prompt=prompt)
    return [
        Snippet("curl", "curl", "bash", shell),
        Snippet("python", "Python", "python", python),
        Snippet("javascript", "JavaScript", "javascript", javascript),
    ]


def environment(public_url: str) -> str:
    """Return the two shell lines that set the key and the address for clients."""
    return f"export {VARIABLE}=sk-...\nexport OPENAI_BASE_URL={public_url}/v1"


def curl(
    public_url: str, model_id: str, *, key: str | None = None, prompt: str | None = None
) -> str:
    """Return a command that can be pasted into a shell."""
    extra = f',\n    "prompt_name": "{prompt}"' if prompt else ""
    return (
        f"curl {public_url}/v1/embeddings \\\n"
        f'  -H "Authorization: Bearer {key or f"${VARIABLE}"}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        "  -d '{\n"
        f'    "model": "{model_id}",\n'
        f'    "input": "{TEXT}"{extra}\n'
        "  }'"
    )


@lru_cache(maxsize=512)
def highlight(code: str, lexer: str) -> Markup:
    """Highlight code; the lexer escapes it. Results are cached: give it no secrets."""
    return Markup(to_markup(code, get_lexer_by_name(lexer), _FORMATTER))  # noqa: S704


def _python(public_url: str, model_id: str, *, key: str | None, prompt: str | None) -> str:
    extra = f'\n    extra_body={{"prompt_name": "{prompt}"}},' if prompt else ""
    given = f'"{key}"' if key else f'os.environ["{VARIABLE}"]'
    imports = "" if key else "import os\n\n"
    return (
        f"{imports}from openai import OpenAI\n\n"
        "client = OpenAI(\n"
        f'    base_url="{public_url}/v1",\n'
        f"    api_key={given},\n"
        ")\n"
        "answer = client.embeddings.create(\n"
        f'    model="{model_id}",\n'
        f'    input=["{TEXT}"],{extra}\n'
        ")\n"
        "print(answer.data[0].embedding)"
    )


def _javascript(public_url: str, model_id: str, *, key: str | None, prompt: str | None) -> str:
    extra = f'\n  prompt_name: "{prompt}",' if prompt else ""
    given = f'"{key}"' if key else f"process.env.{VARIABLE}"
    return (
        'import OpenAI from "openai";\n\n'
        "const client = new OpenAI({\n"
        f'  baseURL: "{public_url}/v1",\n'
        f"  apiKey: {given},\n"
        "});\n"
        "const answer = await client.embeddings.create({\n"
        f'  model: "{model_id}",\n'
        f'  input: ["{TEXT}"],{extra}\n'
        "});\n"
        "console.log(answer.data[0].embedding);"
    )
