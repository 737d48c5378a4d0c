"""Makes the client for a worker's address. The scheme's prefix names the kind of server.

Without a prefix (`http://host:port`, `https://host:port`, `unix:/path`) it is one of our own
workers, which speak the binary hop. Stock engines, with options in the query (`EngineOptions`):

    tei+http://host:port?vocabulary=/path/vocab.txt
    openai+http://host:port?revision=abc                        vLLM and others that accept ids
    infinity+http://host:port/prefix?vocabulary=/path/vocab.txt&revision=abc&tokens_max=512

`heads=/path` selects pooled mode for any of them.
"""

from __future__ import annotations

from yarl import URL

from backends.adapters.address import UnknownBackend, parse
from backends.adapters.hop import HopBackend
from backends.adapters.trust import Trust
from backends.authentication import WrongKey
from backends.protocol import Backend

__all__ = ["UnknownBackend", "connect"]


def connect(
    url: str, trust: Trust | None = None, *, name: str = "", guest: bool = False
) -> Backend:
    """Return a client for a worker's address. Opens the files that it names, but no connection.

    The worker must have the key and certificate of `name` (host:port); by default, those of its
    address. A `guest` announced its address itself. Raises UnknownBackend.
    """
    try:
        parts = URL(url)
    except ValueError as error:
        raise UnknownBackend(f"not a worker's address: {error}") from None
    if parts.scheme in ("http", "https") and parts.host:
        if parts.user or parts.password:
            raise UnknownBackend("an address must hold no credentials")
        try:
            return HopBackend(url.rstrip("/"), trust, name=name, guest=guest)
        except WrongKey as error:
            raise UnknownBackend(str(error)) from None
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return HopBackend(url)
    if "+" in parts.scheme:
        # a tokenizer and an HTTP client of 10 MB, which only they need
        from backends.adapters.engines import connect_engine  # noqa: PLC0415

        engine = parts.scheme.partition("+")[0]
        return connect_engine(engine, parse(url), trust or Trust(), name)
    raise UnknownBackend(
        f"{url!r} is not a worker's address: use http://host:port, unix:/path or "
        "engine+http://host:port"
    )
