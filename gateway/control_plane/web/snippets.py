"""Code that calls a model, in the languages that a reader can choose, with its highlighting.

A script keeps the choice in a cookie, so that all pages show the same language.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from markupsafe import Markup
from pygments import highlight as to_markup
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

TEXT = "Hello, world"
VARIABLE = "OPENAI_API_KEY"
"""The variable that examples read the key from, as OpenAI's own clients do."""

LANGUAGES = ("curl", "python", "javascript", "langchain", "llamaindex", "go")
"""The slugs of the languages, in the order of the tabs."""
COOKIE = "code_language"

LANGCHAIN = """\
{imports}from langchain_openai import OpenAIEmbeddings

embeddings = OpenAIEmbeddings(
    base_url="{url}",
    api_key={key},
    model="{model}",
    check_embedding_ctx_length=False,  # send text, not token ids of OpenAI's
)
print(embeddings.embed_query("{input}"))"""

LLAMAINDEX = """\
{imports}from llama_index.embeddings.openai_like import OpenAILikeEmbedding

embeddings = OpenAILikeEmbedding(
    api_base="{url}",
    api_key={key},
    model_name="{model}",
)
print(embeddings.get_text_embedding("{input}"))"""

_GO = """\
package main

import (
	"context"
	"fmt"
	"log"{imports}

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func main() {{
	client := openai.NewClient(
		option.WithBaseURL("{url}"),
		option.WithAPIKey({key}),
	)
	response, err := client.Embeddings.New(context.Background(), openai.EmbeddingNewParams{{
		Model: "{model}",
		Input: openai.EmbeddingNewParamsInputUnion{{OfArrayOfStrings: []string{{"{input}"}}}},
	}})
	if err != nil {{
		log.Fatal(err)
	}}
	fmt.Println(response.Data[0].Embedding)
}}"""

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
    """Return a call of the model in each language.

    The code reads the key from the environment, or holds the given `key`. Clients that can send no
    field of ours have the prompt in the model's name.
    """
    python = _python(public_url, model_id, key=key, prompt=prompt)
    javascript = _javascript(public_url, model_id, key=key, prompt=prompt)
    shell = curl(public_url, model_id, key=key, prompt=prompt)
    named = f"{model_id}:{prompt}" if prompt else model_id
    common = {"url": f"{public_url}/v1", "model": named, "input": TEXT}
    of_python = common | python_key(key)
    of_go = common | (
        {"imports": "", "key": f'"{key}"'}
        if key
        else {"imports": '\n\t"os"', "key": f'os.Getenv("{VARIABLE}")'}
    )
    return [
        Snippet("curl", "curl", "bash", shell),
        Snippet("python", "Python", "python", python),
        Snippet("javascript", "JavaScript", "javascript", javascript),
        Snippet("langchain", "LangChain", "python", LANGCHAIN.format(**of_python)),
        Snippet("llamaindex", "LlamaIndex", "python", LLAMAINDEX.format(**of_python)),
        Snippet("go", "Go", "go", _GO.format(**of_go)),
    ]


def chosen_language(cookies: Mapping[str, str]) -> str:
    """Return the slug of the language that a visitor chose; empty if they chose none."""
    found = cookies.get(COOKIE, "")
    return found if found in LANGUAGES else ""


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


def python_key(key: str | None = None) -> dict[str, str]:
    """Return the expression for the key in Python code, and the imports that it needs."""
    if key:
        return {"imports": "", "key": f'"{key}"'}
    return {"imports": "import os\n\n", "key": f'os.environ["{VARIABLE}"]'}


@lru_cache(maxsize=1_024)
def highlight(code: str, lexer: str) -> Markup:
    """Highlight code; the lexer escapes it. Results are cached: give it no secrets."""
    return Markup(to_markup(code, get_lexer_by_name(lexer), _FORMATTER))  # noqa: S704


def _python(public_url: str, model_id: str, *, key: str | None, prompt: str | None) -> str:
    extra = f'\n    extra_body={{"prompt_name": "{prompt}"}},' if prompt else ""
    given = python_key(key)
    return (
        f"{given['imports']}from openai import OpenAI\n\n"
        "client = OpenAI(\n"
        f'    base_url="{public_url}/v1",\n'
        f"    api_key={given['key']},\n"
        ")\n"
        "response = client.embeddings.create(\n"
        f'    model="{model_id}",\n'
        f'    input=["{TEXT}"],{extra}\n'
        ")\n"
        "print(response.data[0].embedding)"
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
        "const response = await client.embeddings.create({\n"
        f'  model: "{model_id}",\n'
        f'  input: ["{TEXT}"],{extra}\n'
        "});\n"
        "console.log(response.data[0].embedding);"
    )
