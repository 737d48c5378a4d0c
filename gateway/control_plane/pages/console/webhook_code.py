"""Code that verifies our webhooks, in Python and Node, for the pages that show a secret."""

from __future__ import annotations

from gateway.control_plane.web.snippets import Snippet

_PYTHON = """\
# pip install standardwebhooks
import os

from standardwebhooks.webhooks import Webhook

webhook = Webhook(os.environ["WEBHOOK_SECRET"])


def receive(body: bytes, headers: dict[str, str]) -> dict:
    # raises WebhookVerificationError for what we did not send: answer 400
    event = webhook.verify(body, headers)
    print(event["type"], event["data"])
    return event
"""

_NODE = """\
// npm install standardwebhooks express
import express from "express";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const app = express();

app.post("/hooks/stella", express.raw({ type: "*/*" }), (request, response) => {
  let event;
  try {
    event = webhook.verify(request.body.toString(), request.headers);
  } catch {
    return response.sendStatus(400);  // we did not send it
  }
  console.log(event.type, event.data);
  response.sendStatus(204);
});

app.listen(3000);
"""

VERIFYING = [
    Snippet("python", "Python", "python", _PYTHON),
    Snippet("javascript", "Node", "javascript", _NODE),
]
