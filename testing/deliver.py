"""`python -m testing.deliver URL`: sends webhooks of a database until it is killed.

Prints `listening on` once it runs, as testing.processes expects.
"""

import asyncio
import sys

from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.deliverer import Deliverer
from gateway.control_plane.alerts.signatures import SigningSecrets
from gateway.control_plane.alerts.transport import Transport
from gateway.keyring import Keyring
from gateway.storage.database import Database
from testing.gateways import SECRET

_AGAIN_SECONDS = 0.05


async def main(url: str) -> None:
    """Run the job as the application does, more often."""
    database = Database(url)
    secrets = SigningSecrets(Keyring(SECRET).derive("webhooks"))
    deliverer = Deliverer(database, secrets, Transport(Addresses(["127.0.0.1"])))
    print("listening on nothing", flush=True)
    while True:
        await deliverer.run()
        await asyncio.sleep(_AGAIN_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
