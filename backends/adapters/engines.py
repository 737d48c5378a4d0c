"""The stock engines by name: the options that each needs, and its client."""

from __future__ import annotations

from backends.adapters.address import EngineAddress, UnknownBackend
from backends.adapters.heads import load_heads
from backends.adapters.infinity import Infinity
from backends.adapters.openai_compatible import OpenAICompatible
from backends.adapters.stock import Dialect, StockBackend
from backends.adapters.tei import Tei
from backends.adapters.trust import Trust
from backends.adapters.vocabulary import Vocabulary, load_vocabulary


def connect_engine(
    engine: str, address: EngineAddress, trust: Trust, name: str = ""
) -> StockBackend:
    """Make the client for an engine's address; opens the files that it names.

    `name` (host:port) must be in the engine's certificate; by default that of its address.

    Raises UnknownBackend.
    """
    options = address.options
    try:
        heads = load_heads(options.heads) if options.heads else None
        return StockBackend(address, _dialect(engine, address), heads, trust, name)
    except UnknownBackend:
        raise
    except (OSError, ValueError) as error:
        raise UnknownBackend(f"{address.url}: {error}") from None


def _dialect(engine: str, address: EngineAddress) -> Dialect:
    options = address.options
    match engine:
        case "tei":
            address.require("vocabulary")
            return Tei(_vocabulary(address), pooled=options.heads is not None)
        case "openai":
            address.require("revision")
            known = load_vocabulary(options.vocabulary).sha256 if options.vocabulary else ""
            return OpenAICompatible(options.model, known)
        case "infinity":
            address.require("vocabulary", "revision", "tokens_max")
            return Infinity(options.model, _vocabulary(address))
        case _:
            known = "tei, openai and infinity"
            raise UnknownBackend(f"{address.url}: no engine {engine!r}; there are {known}")


def _vocabulary(address: EngineAddress) -> Vocabulary:
    assert address.options.vocabulary is not None
    return load_vocabulary(address.options.vocabulary)
