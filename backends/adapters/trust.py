"""What a gateway needs, besides addresses, to know that its workers are who they should be."""

from __future__ import annotations

import ssl
from pathlib import Path

from backends import authentication
from backends.adapters.credentials import Credentials
from backends.authentication import KEY_VARIABLE, SECRET_VARIABLE, WrongKey
from backends.guests import GuestNetworks


class Trust:
    """One for all workers of a gateway."""

    def __init__(
        self,
        *secrets: bytes,
        authority: Path | None = None,
        guests: GuestNetworks | None = None,
    ) -> None:
        """`authority` is a file (PEM): who certifies workers; None for the system's authorities.

        `guests` says where workers that announce themselves may be.
        """
        self._secrets = tuple(filter(None, secrets))
        self._authority = authority
        self.guests = guests
        self._context: ssl.SSLContext | None = None
        self._read_at = 0

    def credentials(self, name: str) -> Credentials | None:
        """Return the credentials for the worker known as `name` (host:port).

        None for a worker on this machine, if there is no secret. Raises WrongKey where one is
        needed.
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
        """Return the TLS context; the authority's file is read again when it changes.

        While that file is half written or missing, what was read before stays. Raises OSError if it
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
