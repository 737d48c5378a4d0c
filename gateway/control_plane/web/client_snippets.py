"""Code for clients other than OpenAI's own, and what each does when an answer is late or refused.

All of it was run against this gateway; retries and timeouts are the clients' defaults.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.control_plane.web import snippets
from gateway.control_plane.web.snippets import TEXT, VARIABLE, Snippet


class Client(NamedTuple):
    """A client: its code, what users must know, how often it retries, how long it waits."""

    snippet: Snippet
    note: str
    retries: str
    timeout: str


class _Known(NamedTuple):
    name: str
    lexer: str
    code: str
    retries: str
    timeout: str
    note: str = ""


OPENAI = ("OpenAI's SDKs", "2", "10 minutes for each try")
"""Names, retries and timeouts of OpenAI's own clients, on which most others are built."""
_AS_OPENAI = OPENAI[1:]

_KNOWN = (
    _Known(
        "LangChain",
        "python",
        snippets.LANGCHAIN,
        *_AS_OPENAI,
        "By default it sends token ids from OpenAI's vocabulary. Configure it to send text:",
    ),
    _Known(
        "LangChain.js",
        "javascript",
        """\
import {{ OpenAIEmbeddings }} from "@langchain/openai";

const embeddings = new OpenAIEmbeddings({{
  model: "{model}",
  apiKey: process.env.{variable},
  configuration: {{ baseURL: "{url}" }},
}});""",
        "6, on top of the SDK's",
        "10 minutes for each try",
        "Don't set a `timeout` shorter than your largest request takes: it sends each retry as a "
        "new request.",
    ),
    _Known(
        "Vercel AI SDK",
        "javascript",
        """\
import {{ createOpenAICompatible }} from "@ai-sdk/openai-compatible";
import {{ embedMany }} from "ai";

const gateway = createOpenAICompatible({{
  name: "gateway",
  baseURL: "{url}",
  apiKey: process.env.{variable},
}});
const {{ embeddings }} = await embedMany({{
  model: gateway.embeddingModel("{model}"),
  values: ["Hello, world"],
}});""",
        "2",
        "none; an `abortSignal` ends all tries",
    ),
    _Known(
        "LlamaIndex",
        "python",
        snippets.LLAMAINDEX,
        "10",
        "60 seconds for each try",
    ),
    _Known(
        "Haystack",
        "python",
        """\
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret

queries = OpenAITextEmbedder(
    api_base_url="{url}",
    api_key=Secret.from_env_var("{variable}"),
    model="{model}",
)
documents = OpenAIDocumentEmbedder(
    api_base_url="{url}",
    api_key=Secret.from_env_var("{variable}"),
    model="{model}",
    raise_on_failure=True,
)""",
        "5",
        "30 seconds for each try",
        "Without `raise_on_failure=True`, documents that could not be embedded come back without "
        "a vector, and the error is a line in the log.",
    ),
    _Known(
        "LiteLLM",
        "python",
        """\
import os

import litellm

answer = litellm.embedding(
    model="openai/{model}",
    api_base="{url}",
    api_key=os.environ["{variable}"],
    input=["Hello, world"],
)""",
        "2; none with `hosted_vllm/`",
        "10 minutes for each try",
    ),
    _Known(
        "Chroma",
        "python",
        """\
from chromadb.utils.embedding_functions import OpenAIEmbeddingFunction

embed = OpenAIEmbeddingFunction(
    api_base="{url}",
    api_key_env_var="{variable}",
    model_name="{model}",
)""",
        *_AS_OPENAI,
    ),
    _Known(
        "mem0",
        "python",
        """\
import os

from mem0 import Memory

memory = Memory.from_config(
    {{
        "embedder": {{
            "provider": "openai",
            "config": {{
                "openai_base_url": "{url}",
                "api_key": os.environ["{variable}"],
                "model": "{model}",
            }},
        }}
    }}
)""",
        *_AS_OPENAI,
    ),
    _Known(
        "Pydantic AI",
        "python",
        """\
import os

from pydantic_ai import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url="{url}", api_key=os.environ["{variable}"])
embedder = Embedder(OpenAIEmbeddingModel("{model}", provider=provider))""",
        *_AS_OPENAI,
    ),
    _Known(
        "Semantic Kernel",
        "python",
        """\
import os

from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import OpenAITextEmbedding

embedding = OpenAITextEmbedding(
    ai_model_id="{model}",
    async_client=AsyncOpenAI(base_url="{url}", api_key=os.environ["{variable}"]),
)""",
        *_AS_OPENAI,
    ),
)


def clients(public_url: str, model_id: str) -> list[Client]:
    """Return them all, with code that calls a model."""
    options = {"url": f"{public_url}/v1", "model": model_id, "variable": VARIABLE, "input": TEXT}
    options |= snippets.python_key()
    return [
        Client(
            Snippet(_slug(one.name), one.name, one.lexer, one.code.format(**options)),
            one.note,
            one.retries,
            one.timeout,
        )
        for one in _KNOWN
    ]


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-").replace(".", "-")
