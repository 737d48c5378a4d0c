"""What `helm test` runs: is the gateway ready, does it embed, and is the charge exact?

It makes nothing but one request, which the key's organization pays for. Python's own library is all
that it needs.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

GATEWAY, MODEL = os.environ["GATEWAY"], os.environ["MODEL"]
KEY = os.environ.get("OPENAI_API_KEY", "")
TEXT = "A text that helm test embeds."
SECONDS = 45


def asked(path: str, body: object = None) -> tuple[Any, Any]:
    """Return the headers and the JSON of an answer; end with its words if it is an error."""
    headers = {"content-type": "application/json"}
    if KEY:
        headers["authorization"] = f"Bearer {KEY}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(GATEWAY + path, data, headers)  # noqa: S310 - from the chart
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path} answered {error.code}: {error.read(2000).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{GATEWAY}{path} can't be reached: {error}")


def say(line: str) -> None:
    """Write a line of the test's log."""
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Check everything, or end with a sentence."""
    asked("/health/ready")
    say("ready")
    _, models = asked("/v1/models")
    found = {model["id"]: model for model in models["data"]}
    if MODEL not in found:
        sys.exit(f"{MODEL} is not in the catalog; test.model may be: {', '.join(found)}")
    if not KEY:
        say("not embedded: test.apiKey names no Secret with a key")
        return
    headers, answer = asked("/v1/embeddings", {"model": MODEL, "input": TEXT})
    numbers = len(answer["data"][0]["embedding"])
    tokens, charged = answer["usage"]["total_tokens"], int(headers["x-cost-nanos"])
    price_nanos = int(found[MODEL]["price"]["nanos_per_million_tokens"])
    # rounded up to a whole nano-dollar
    due = -(-tokens * price_nanos // 1_000_000)
    if charged != due:
        sys.exit(f"{tokens} tokens were charged {charged} nano-dollars, and cost {due}")
    say(f"embedded: {numbers} numbers, {tokens} tokens, charged {charged} nano-dollars, as due")


main()
