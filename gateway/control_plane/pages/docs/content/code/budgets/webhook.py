"""Receive webhooks: verify who sent them, handle each event once."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(
    os.environ["WEBHOOK_SECRET"]
)  # whsec_..., from the webhook's page
handled = set()  # in a database, once this is more than a sketch


def handle(event):
    """Act on an event."""
    if event["type"] == "budget.reached":
        data = event["data"]
        print(
            f"{data['key_name']} has used {data['percent']}% of its budget",
            flush=True,
        )


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what our gateway signed, and 400 to all else."""

    def do_POST(self):
        """Take one event."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {
            name.lower(): value for name, value in self.headers.items()
        }
        try:
            webhook.verify(body, headers)  # old ones fail, too
        except WebhookVerificationError:
            self.send_response(400)
        else:
            name = headers["webhook-id"]  # the same for each retry
            if name not in handled:
                handle(json.loads(body))
                handled.add(name)
            self.send_response(204)
        self.end_headers()


server = HTTPServer(
    ("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver
)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
