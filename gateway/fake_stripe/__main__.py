"""`python -m gateway.fake_stripe`: serve an account in memory, and say where.

Its secret key is `sk_test_fake`; what it holds is gone when it ends.
"""

import argparse
import socket
import sys

import uvicorn

from gateway.fake_stripe.app import FakeStripeApp
from gateway.fake_stripe.fake import FakeStripe


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m gateway.fake_stripe", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="a free one if it is 0")
    parser.add_argument("--webhook", metavar="URL", help="where events go")
    parser.add_argument("--secret", default="whsec_of_the_fake_stripe", help="what signs them")
    parser.add_argument("--thin", action="store_true", help="send thin events")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port))
    fake = FakeStripe(f"http://127.0.0.1:{listener.getsockname()[1]}")
    if options.webhook:
        fake.listen(options.webhook, options.secret, is_thin=options.thin)
    _Server(uvicorn.Config(FakeStripeApp(fake), log_level="warning", access_log=False)).announce(
        fake.url, listener
    )


class _Server(uvicorn.Server):
    def announce(self, url: str, listener: socket.socket) -> None:
        self.url = url
        self.run([listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"listening on {self.url}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
