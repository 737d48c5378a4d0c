"""vLLM 0.33's /v1/embeddings, from its entrypoints: honest about ids, with a queue without end.

Nested errors, base64 with NaN in it unseen, 400 for `dimensions` and for a row that is too long,
503 only where it was started with --max-num-queued-tokens, a body limit of 32 MiB.
"""

import base64
from typing import Any

import numpy as np

from tests.backends.standins.app import Answer, StandIn, json_answer, parser, serve


class Vllm(StandIn):
    async def answer(self, method: str, path: str, body: Any, size: int) -> Answer:
        if self.args.key:
            sent = self._seen[-1]["headers"].get("authorization")
            if sent != f"Bearer {self.args.key}":
                return json_answer(401, {"error": "Unauthorized"})
        match method, path:
            case "GET", "/v1/models":
                entry = {"object": "model", "owned_by": "vllm", "max_model_len": None}
                if not self.args.mute:
                    entry["max_model_len"] = self.args.tokens_max
                data = [{**entry, "id": name, "root": name} for name in self.args.models]
                return json_answer(200, {"object": "list", "data": data})
            case "POST", "/v1/embeddings":
                if size > 32 << 20:
                    return _error(413, "Request body too large")
                return await self._embeddings(body)
        return json_answer(404, {"detail": "Not Found"})

    async def _embeddings(self, body: Any) -> Answer:
        kind = self.take()
        if kind == "hang":
            await self.hang()
        if kind in FAILURES:
            return FAILURES[kind]
        if body["model"] not in self.args.models:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if body.get("dimensions"):
            return _error(400, "does not support matryoshka representation")
        ids = [self.tokenise(x) if isinstance(x, str) else x for x in body["input"]]
        if any(len(row) > self.args.tokens_max for row in ids):
            return _error(400, f"maximum context length is {self.args.tokens_max} tokens")
        if kind == "specials":
            ids = [[101, *row, 102] for row in ids]
        return json_answer(200, self._listing(body, ids, kind))

    def _listing(self, body: Any, ids: list[list[int]], kind: str) -> dict[str, Any]:
        vectors = self.vectors(ids, kind, normalise=self.args.normalise)
        data = [
            {"object": "embedding", "index": i, "embedding": self._write(vector, body, kind)}
            for i, vector in enumerate(vectors)
        ]
        match kind:
            case "shuffled":
                data.reverse()
            case "duplicate":
                data[-1]["index"] = 0
        tokens = sum(map(len, ids))
        answer = {
            "object": "list",
            "model": "another" if kind == "foreign" else body["model"],
            "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        if kind == "usageless":
            del answer["usage"]
        return answer

    def _write(self, vector: np.ndarray, body: Any, kind: str) -> Any:
        if kind == "garbled":
            return "no base64!"
        if kind == "cut":
            return base64.b64encode(vector.tobytes()[:-1]).decode()
        if body.get("encoding_format") == "base64" and kind != "floats":
            return base64.b64encode(vector.tobytes()).decode()
        return vector.tolist()


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return json_answer(status, {"error": error}, headers)


FAILURES = {
    "dead": _error(500, "EngineCore encountered an issue. See stack trace."),
    "queue": _error(503, "The queue is full", {"retry-after": "7"}),
    "html": (200, {"content-type": "text/html"}, b"<html>a proxy's page</html>"),
}


if __name__ == "__main__":
    options = parser()
    options.add_argument("--models", nargs="+", default=["stella"])
    options.add_argument("--mute", action="store_true", help="does not tell max_model_len")
    serve(Vllm(options.parse_args()))
