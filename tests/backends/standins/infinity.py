"""Infinity 0.0.78, from its infinity_server.py and pymodels: text only, and silent about much.

422 for ids, characters as usage, truncation without a word, 429 when its queue is full, and after
a CUDA fault calls that hang for ever while /health stays at 200.
"""

import base64
import json
from typing import Any

from tests.backends.standins.app import Answer, StandIn, json_answer, parser, serve


class Infinity(StandIn):
    async def answer(self, method: str, path: str, body: Any, size: int) -> Answer:  # noqa: ARG002
        match method, path.removeprefix(self.args.url_prefix):
            case "GET", "/models":
                stats = {"queue_fraction": 0.0, "queue_absolute": 0, "results_pending": 0}
                model = {"id": "stella", "stats": stats, "object": "model", "backend": "torch"}
                return json_answer(200, {"object": "list", "data": [model]})
            case "POST", "/embeddings" if path.startswith(self.args.url_prefix):
                return await self._embeddings(body)
        return json_answer(404, {"detail": "Not Found"})

    async def _embeddings(self, body: Any) -> Answer:
        kind = self.take()
        match kind:
            case "hang":
                await self.hang()
            case "overloaded":
                return json_answer(429, {"error": {"message": "model overloaded", "code": 429}})
            case "error":
                return json_answer(500, {"error": {"message": "InternalServerError: CUDA"}})
        texts = body["input"]
        if not all(isinstance(text, str) for text in texts):
            detail = [{"type": "string_type", "loc": ["body", "input", "list[str]", 0]}]
            return json_answer(422, {"detail": detail})
        if body["model"] != "stella":
            return json_answer(400, {"error": {"message": f"Invalid model: {body['model']}"}})
        limit = self.args.tokens_max
        ids = [self.tokenise(text) for text in texts]
        ids = [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in ids]
        vectors = self.vectors(ids, kind, normalise=self.args.normalise)
        if kind == "nulls":  # what its float format makes of NaN
            written: list[Any] = [[None] * len(vector) for vector in vectors]
        else:
            written = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
        data = [
            {"object": "embedding", "index": i, "embedding": one} for i, one in enumerate(written)
        ]
        characters = sum(map(len, texts))
        usage = {"prompt_tokens": characters, "total_tokens": characters}
        answer = {"object": "list", "model": "stella", "data": data, "usage": usage}
        return 200, {}, json.dumps(answer).encode()


if __name__ == "__main__":
    options = parser()
    options.add_argument("--url-prefix", default="")
    serve(Infinity(options.parse_args()))
