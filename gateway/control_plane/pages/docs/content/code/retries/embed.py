"""Embed with retries of your own: wait as asked, and never pay twice."""

import os
import random
import time
import uuid

import httpx

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TRIES = 5


RETRIED = (408, 429, 500, 502, 503, 504)


class Refused(Exception):
    """The API said no, and asking again would not help."""


def embed(client, inputs):
    """Return the response, after up to five tries."""
    # one key for all tries, so that the work is charged once
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"model": MODEL, "input": inputs}
    for attempt in range(TRIES):
        wait = None
        try:
            response = client.post("embeddings", json=body, headers=headers)
        except httpx.TransportError as error:  # or no response in time
            problem = repr(error)
        else:
            if response.is_success:
                return response
            error = response.json()["error"]
            problem = f"{response.status_code} {error['code']}"
            if response.status_code not in RETRIED:
                raise Refused(f"{problem}: {error['message']}")
            wait = response.headers.get("retry-after")
        if attempt + 1 < TRIES:
            backoff = min(2**attempt, 30) * random.uniform(0.5, 1.0)
            time.sleep(float(wait) if wait else backoff)
    raise TimeoutError(f"gave up after {TRIES} tries: {problem}")


if __name__ == "__main__":
    key = os.environ["OPENAI_API_KEY"]
    with httpx.Client(
        base_url=os.environ["OPENAI_BASE_URL"],
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    ) as client:
        response = embed(client, ["Hello, world"])
    tokens = response.json()["usage"]["total_tokens"]
    print(tokens, "tokens,", response.headers["x-cost-nanos"], "nanos")
