"""The options of every worker's command line: where it listens, and who hears of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from backends import authentication
from backends.authentication import KEY_VARIABLE, SECRET_VARIABLE, WrongKey
from backends.secret_files import SecretFileError, read_secret

DRAIN_SECONDS_DEFAULT = 5.0
"""How long a real worker's `/ready` says 503 before it closes, so that routers notice."""


class Options(NamedTuple):
    """Where a worker listens, how it ends, and which gateways hear of it."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 for a free one."""
    uds: Path | None = None
    """A unix socket, instead of the port."""
    tls_cert: Path | None = None
    """PEM, with the intermediate certificates; read again when it changes."""
    tls_key: Path | None = None
    drain_seconds: float = 0.0
    """How long `/ready` says 503 before the server closes."""
    announce: tuple[str, ...] = ()
    """Gateways to which this worker announces itself."""
    announce_as: str | None = None
    """Where gateways reach this worker, if not where it listens; its key is made for that."""
    exit_with_stdin: bool = False
    """Also exit when standard input closes, so that no child outlives its parent."""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.tls_cert else "http"

    def url(self, port: int) -> str:
        """Return where the worker listens, on this port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.uds}" if self.uds else f"{self.scheme}://{host}:{port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the worker."""
        return all(map(authentication.is_local, (self.url(1), self.known_as(1))))

    def known_as(self, port: int) -> str:
        """Return the address at which gateways reach the worker."""
        return self.announce_as or self.url(port)


def add_options(parser: argparse.ArgumentParser, *, drain_seconds: float = 0.0) -> None:
    """Add the options to a worker's command line."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on")
    add("--port", type=int, default=0, help="TCP port (0: a free one)")
    add("--uds", type=Path, help="a unix socket, instead of the port")
    add("--tls-cert", type=Path, help="serve TLS with this certificate (PEM, with its chain)")
    add("--tls-key", type=Path, help="the certificate's key (PEM)")
    add("--drain-seconds", type=float, default=drain_seconds, help="go on serving after SIGTERM")
    add(
        "--announce",
        action="append",
        default=[],
        metavar="GATEWAY",
        help="announce the worker to this gateway",
    )
    add("--announce-as", metavar="URL", help="the address at which gateways reach this worker")
    add("--exit-with-stdin", action="store_true", help="end when stdin ends")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options. Raises SystemExit if they contradict each other."""
    found = {name: getattr(args, name) for name in Options._fields}
    options = Options(**found | {"announce": tuple(args.announce)})
    if (options.tls_cert is None) != (options.tls_key is None):
        sys.exit("--tls-cert and --tls-key belong together")
    if options.uds and options.tls_cert:
        sys.exit("--uds and --tls-cert: a unix socket needs no TLS")
    try:
        authentication.is_local(options.known_as(1))
    except WrongKey as error:
        sys.exit(f"--announce-as: {error}")
    return options


def keys_of(
    options: Options, port: int, environment: Mapping[str, str] = os.environ
) -> tuple[bytes, ...]:
    """Return the worker's keys: its own, or those that the gateways' secrets make for its address.

    There are several while they are rotated, and none if only this machine can reach the worker.
    Raises SystemExit.
    """
    try:
        if own := secret_of(KEY_VARIABLE, environment):
            return authentication.parse_keys(own)
        if secret := secret_of(SECRET_VARIABLE, environment):
            return _made_keys(authentication.parse_secrets(secret), options, port)
    except WrongKey as error:
        sys.exit(f"{KEY_VARIABLE}: {error}")
    if options.announce:
        sys.exit(f"--announce needs {KEY_VARIABLE} in the environment; {_HOW}")
    if not options.is_local:
        sys.exit(f"other machines reach {options.url(port)}, so {KEY_VARIABLE} must be set; {_HOW}")
    return ()


def secret_of(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a secret; see `read_secret`. Raises SystemExit if its file can't be used."""
    try:
        return read_secret(variable, environment)
    except SecretFileError as error:
        sys.exit(str(error))


_HOW = f"`gateway workers key URL` prints it ({SECRET_VARIABLE}, as gateways have it, does too)"


def _made_keys(secrets: Sequence[bytes], options: Options, port: int) -> tuple[bytes, ...]:
    if options.uds and options.announce_as is None:
        return ()
    if options.announce_as is None and options.host in ("0.0.0.0", "::"):  # noqa: S104 - refused
        sys.exit(f"{options.host} is not an address: set --announce-as URL, where gateways find us")
    authority = authentication.authority_of(options.known_as(port))
    return tuple(authentication.derive_key(secret, authority) for secret in secrets)
