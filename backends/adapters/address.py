"""The address of a stock embedding server: `engine+http://host:port/prefix?option=value`.

A stock engine does not report everything that must be known before its vectors can be trusted, so
the operator states the rest in the query. Unknown options are refused by name: a typo must not
become a silent default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from yarl import URL

from backends.secret_files import SecretFileError, read_secret

GUIDE = "docs/engines.md"
_TOKENS_MAX_MAX = 1_000_000


class EngineAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A stock engine's address, parsed."""

    url: str
    """As it was given: the worker's name in the pool."""
    base: str
    """http://host:port/prefix, with neither engine nor options."""
    options: EngineOptions

    @property
    def key(self) -> str:
        """The engine's API key; empty if it needs none. Raises UnknownBackend."""
        name = self.options.key_env
        if name is None:
            return ""
        try:
            found = read_secret(name)
        except SecretFileError as error:
            raise UnknownBackend(f"{self.url}: key_env names {name}: {error}") from None
        if not found:
            raise UnknownBackend(f"{self.url}: key_env names {name}, which is not set")
        return found

    def require(self, *names: str) -> None:
        """Refuse an address that leaves any of these options out. Raises UnknownBackend."""
        if missing := [name for name in names if getattr(self.options, name) is None]:
            raise UnknownBackend(f"{self.url}: {state(*missing)}")


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the query of an address may say."""

    model: str | None = None
    """The model's name at the engine, if not the catalog's. None: it serves one, by that name."""
    revision: str | None = None
    """Revision of the weights. An engine that reports its own must report the same."""
    vocabulary: Path | None = None
    """vocab.txt whose ids the gateway counts in: the engine's own must be the same."""
    heads: Path | None = None
    """Folder with `2_Dense_<D>/`: the engine gives pooled vectors, the heads are applied here."""
    tokens_max: Annotated[int, msgspec.Meta(ge=1, le=_TOKENS_MAX_MAX)] | None = None
    """Most tokens in one row: for an engine that does not report it, or to allow fewer."""
    key_env: str | None = None
    """Environment variable that holds the engine's API key, because a key in a URL ends up in logs.
    The variable with _FILE appended may name a file that holds it instead."""


class UnknownBackend(ValueError):
    """The address names no backend that exists, or an option is missing or wrong."""


def parse(address: str) -> EngineAddress:
    """Parse `engine+http://...`. Raises UnknownBackend."""
    try:
        url = URL(address)
    except ValueError as error:
        raise UnknownBackend(f"not an engine's address: {error}") from None
    scheme = url.scheme.partition("+")[2]
    if url.user or url.password:
        raise UnknownBackend("an address must hold no credentials: name a variable with key_env=")
    if scheme not in ("http", "https") or not url.host:
        raise UnknownBackend(f"{address!r} is not an engine's address: use engine+http://host:port")
    for name in url.query:
        if name not in EngineOptions.__struct_fields__:
            known = ", ".join(EngineOptions.__struct_fields__)
            raise UnknownBackend(f"{address}: no option {name!r}; the options are {known}")
        if len(url.query.getall(name)) > 1:
            raise UnknownBackend(f"{address}: {name} is given twice")
        if not url.query[name]:
            raise UnknownBackend(f"{address}: {name} is empty")
    try:
        options = msgspec.convert(dict(url.query), EngineOptions, strict=False, dec_hook=_converted)
    except msgspec.ValidationError as error:
        raise UnknownBackend(f"{address}: {error}") from None
    base = str(url.with_scheme(scheme).with_query(None).with_fragment(None)).rstrip("/")
    return EngineAddress(url=address, base=base, options=options)


def state(*names: str) -> str:
    """Return a sentence that asks for the options that an address lacks."""
    return f"state {' and '.join(f'{name}=' for name in names)} in the URL (see {GUIDE})"


def _converted(kind: type, value: str) -> object:
    """Make a Path of a text: the only type that msgspec does not convert."""
    return kind(value)
