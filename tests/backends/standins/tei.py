"""Text Embeddings Inference 1.9.3, from its router/src/http/server.rs and core/src/tokenization.rs.

Flat errors, 424 for a GPU that failed, a permit for each input, ids decoded and tokenised again,
NaN as null, `truncate` falling back on how it was started, `dimensions` a slice.
"""

import json
from typing import Any

import numpy as np

from tests.backends.standins.app import Answer, StandIn, json_answer, parser, serve

PAYLOAD_BYTES_MAX = 2_000_000
STATUSES = {
    "Unhealthy": 503,
    "Backend": 424,
    "Overloaded": 429,
    "Validation": 413,
    "Tokenizer": 422,
    "Empty": 400,
}


class Tei(StandIn):
    def __init__(self, args) -> None:
        super().__init__(args)
        self._permits = args.permits

    async def answer(self, method: str, path: str, body: Any, size: int) -> Answer:
        match method, path:
            case "GET", "/info":
                return json_answer(200, self._info())
            case "POST", "/embed":
                if size > PAYLOAD_BYTES_MAX:
                    return 413, {}, b"length limit exceeded"
                return await self._embed(body)
        return 404, {}, b""

    def _info(self) -> dict[str, Any]:
        args = self.args
        kind = {"reranker": {}} if args.reranker else {"embedding": {"pooling": args.pooling}}
        return {
            "model_id": "stella",
            "model_sha": args.sha,
            "model_dtype": "float32",
            "model_type": kind,
            "max_concurrent_requests": args.permits,
            "max_input_length": args.tokens_max,
            "max_batch_tokens": 16384,
            "max_client_batch_size": args.batch,
            "auto_truncate": True,
            "version": "1.9.3",
        }

    async def _embed(self, body: Any) -> Answer:
        inputs = body["inputs"] if isinstance(body["inputs"], list) else [body["inputs"]]
        if len(inputs) > self.args.batch:
            message = f"batch size {len(inputs)} > maximum allowed batch size {self.args.batch}"
            return 422, {}, json.dumps({"error": message, "error_type": "Validation"}).encode()
        if any(not text for text in inputs):
            return _error("Empty", "`inputs` cannot be empty")
        if len(inputs) > self._permits:
            return _error("Overloaded", "Model is overloaded")
        self._permits -= len(inputs)
        try:
            return await self._infer(inputs, body)
        finally:
            self._permits += len(inputs)

    async def _infer(self, inputs: list, body: Any) -> Answer:
        kind = self.take()
        if kind == "hang":
            await self.hang()
        if kind in FAILURES:
            return FAILURES[kind]
        ids = [self._ids(given) for given in inputs]
        if kind == "prompt":  # started with --default-prompt
            ids = [[*row[:1], 7592, *row[1:]] for row in ids]
        limit = self.args.tokens_max
        if kind == "truncate":
            limit = 3
        elif not body.get("truncate", True) and any(len(row) > limit for row in ids):
            return _error("Validation", f"`inputs` must have less than {limit} tokens")
        ids = [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in ids]
        normalise = body.get("normalize", True) or self.args.always_normalises
        vectors = self.vectors(ids, kind, normalise=normalise)
        if kind == "infinite":
            vectors[-1] = vectors[-1].astype(np.float64) + 1e300
        if body.get("dimensions"):
            vectors = [vector[: body["dimensions"]] for vector in vectors]
        values = [[x if np.isfinite(x) else None for x in vector.tolist()] for vector in vectors]
        headers = {"x-compute-tokens": str(sum(map(len, ids)))}
        if kind == "headerless":
            headers = {}
        return json_answer(200, values, headers)

    def _ids(self, given: str | list[int]) -> list[int]:
        if isinstance(given, str):
            return self.tokenise(given)
        text = self._tokenizer.decode(given, skip_special_tokens=False)
        return self._tokenizer.encode(text, add_special_tokens=False).ids


def _error(kind: str, message: str) -> Answer:
    return json_answer(STATUSES[kind], {"error": message, "error_type": kind})


FAILURES = {
    "backend": _error("Backend", "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)"),
    "unhealthy": _error("Unhealthy", "unhealthy"),
    "html": (200, {"content-type": "text/html"}, b"<html>a proxy's page</html>"),
}


if __name__ == "__main__":
    options = parser()
    options.add_argument("--permits", type=int, default=512)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--sha")
    options.add_argument("--pooling", default="mean")
    options.add_argument("--reranker", action="store_true")
    options.add_argument("--always-normalises", action="store_true")
    serve(Tei(options.parse_args()))
