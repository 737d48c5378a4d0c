"""What a gateway knows of its workers beside their addresses: who they must prove to be."""

from __future__ import annotations

import ssl
from pathlib import Path

from backends import authentication
from backends.adapters.credentials import Credentials
from backends.authentication import KEY_VARIABLE, SECRET_VARIABLE, WrongKey
from backends.guests import GuestNetworks


class Trust:
    """The same for all workers of a gateway."""

    def __init__(
        self,
        *secrets: bytes,
        authority: Path | None = None,
        guests: GuestNetworks | None = None,
    ) -> None:
        """`authority` is the file (PEM) of the one that certifies workers; None: the system's.

        `guests` says where workers may be that announced themselves.
        """
        self._secrets = tuple(filter(None, secrets))
        self._authority = authority
        self.guests = guests
        self._context: ssl.SSLContext | None = None
        self._read_at = 0

    def credentials(self, name: str) -> Credentials | None:
        """Return the credentials for the worker known as `name` (host:port).

        None for one on this machine, if there is no secret. Raises WrongKey where one is needed.
        """
        local = authentication.is_local(name)
        if self._secrets:
            keys = [authentication.derive_key(secret, name) for secret in self._secrets]
            return Credentials(keys, name, used=not local)
        if local:
            return None
        raise WrongKey(
            f"{name} may be another machine: set {SECRET_VARIABLE} here, and there {KEY_VARIABLE}, "
            "which `gateway workers key` prints"
        )

    def tls(self) -> ssl.SSLContext:
        """Return how to connect by TLS; the authority's file is read again when it changes.

        A file that is half written, or away, leaves what was read before. Raises OSError if it
        could never be read.
        """
        try:
            changed_at = self._authority.stat().st_mtime_ns if self._authority else 0
            if self._context is None or changed_at != self._read_at:
                self._read_at = changed_at
                self._context = ssl.create_default_context(cafile=self._authority)
        except OSError:
            if self._context is None:
                raise
        return self._context


def tls_reason(error: ssl.SSLError) -> str:
    """Say what is wrong with a worker's TLS, and where to look."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        return f"TLS: {said}; GATEWAY_WORKER_CA names whose certificates are good"
    return f"TLS: {error.reason or error}; is it served there (--tls-cert)?"
