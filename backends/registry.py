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

from backends.adapters.address import EngineAddress, UnknownBackend, parse
from backends.adapters.heads import load_heads
from backends.adapters.hop import HopBackend
from backends.adapters.infinity import Infinity
from backends.adapters.openai_compatible import OpenAICompatible
from backends.adapters.stock import Dialect, StockBackend
from backends.adapters.tei import Tei
from backends.adapters.vocabulary import Vocabulary, load_vocabulary
from backends.protocol import Backend

__all__ = ["UnknownBackend", "connect"]


def connect(url: str) -> Backend:
    """Make the client for a worker's address. Opens the files that it names, but no connection.

    Raises UnknownBackend.
    """
    try:
        parts = URL(url)
    except ValueError as error:
        raise UnknownBackend(f"not a worker's address: {error}") from None
    if parts.scheme in ("http", "https") and parts.host:
        if parts.user or parts.password:
            raise UnknownBackend("an address must hold no credentials")
        return HopBackend(url.rstrip("/"))
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return HopBackend(url)
    if "+" in parts.scheme:
        return _stock(parts.scheme.partition("+")[0], parse(url))
    raise UnknownBackend(
        f"{url!r} is not a worker's address: use http://host:port, unix:/path or "
        "engine+http://host:port"
    )


def _stock(engine: str, address: EngineAddress) -> StockBackend:
    options = address.options
    try:
        heads = load_heads(options.heads) if options.heads else None
        return StockBackend(address, _dialect(engine, address), heads)
    except UnknownBackend:
        raise
    except (OSError, ValueError) as error:
        raise UnknownBackend(f"{address.url}: {error}") from None


def _dialect(engine: str, address: EngineAddress) -> Dialect:
    options = address.options
    match engine:
        case "tei":
            return Tei(_vocabulary(address), pooled=options.heads is not None)
        case "openai":
            address.require("revision")
            known = load_vocabulary(options.vocabulary).sha256 if options.vocabulary else ""
            return OpenAICompatible(options.model, known)
        case "infinity":
            address.require("revision", "tokens_max")
            return Infinity(options.model, _vocabulary(address))
        case _:
            known = "tei, openai and infinity"
            raise UnknownBackend(f"{address.url}: no engine {engine!r}; there are {known}")


def _vocabulary(address: EngineAddress) -> Vocabulary:
    address.require("vocabulary")
    assert address.options.vocabulary is not None
    return load_vocabulary(address.options.vocabulary)
