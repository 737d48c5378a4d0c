"""Embed with retries of your own: wait as long as the server asks, and never pay twice."""

import os
import random
import time
import uuid

import httpx

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TRIES = 5


class Refused(Exception):
    """The API said no, and asking again would not help."""


def embed(client, inputs):
    """Return the response, after up to five tries."""
    # one key for all tries: whichever of them is answered, the work is charged once
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"model": MODEL, "input": inputs}
    for attempt in range(TRIES):
        try:
            response = client.post("embeddings", json=body, headers=headers)
        except httpx.TransportError as error:  # no connection, or no response in time
            problem, wait = repr(error), None
        else:
            if response.is_success:
                return response
            error = response.json()["error"]
            problem = f"{response.status_code} {error['code']}: {error['message']}"
            if response.status_code not in (408, 429, 500, 502, 503, 504):
                raise Refused(problem)  # 400, 401, 402, 403, 404: change something first
            wait = response.headers.get("retry-after")
        if attempt + 1 < TRIES:
            backoff = min(2**attempt, 30) * random.uniform(0.5, 1.0)
            time.sleep(float(wait) if wait else backoff)
    raise TimeoutError(f"gave up after {TRIES} tries; the last one: {problem}")


if __name__ == "__main__":
    base_url = os.environ["OPENAI_BASE_URL"].rstrip("/") + "/"
    authorization = f"Bearer {os.environ['OPENAI_API_KEY']}"
    with httpx.Client(
        base_url=base_url, headers={"Authorization": authorization}, timeout=60
    ) as client:
        response = embed(client, ["Hello, world"])
    print(response.json()["usage"]["total_tokens"], "tokens", response.headers["x-cost-nanos"])
