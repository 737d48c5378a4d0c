"""The address of a stock embedding server: `engine+http://host:port/prefix?option=value`.

A stock engine can't say all that must be known before its vectors may be trusted, so the operator
says the rest in the query. Unknown options are refused by name: a typing error must not become a
silent default.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec

_TOKENS_MAX_MAX = 1_000_000


class UnknownBackend(ValueError):
    """The address names no backend that there is, or says of it what can't be."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the query of an address may say."""

    model: str | None = None
    """The model's name there; None: whatever it serves, so long as it is one."""
    revision: str | None = None
    """Revision of the weights. An engine that knows its own must say the same."""
    vocabulary: Path | None = None
    """vocab.txt whose ids the gateway counts in: the engine's own must be the same."""
    heads: Path | None = None
    """Folder with `2_Dense_<D>/`: the engine gives pooled vectors, the heads are applied here."""
    tokens_max: int | None = None
    """Most tokens in one row, for an engine that does not tell, or fewer than it tells."""
    key_env: str | None = None
    """Environment variable that holds the engine's API key: a key in a URL ends up in logs."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A stock engine's address, taken apart."""

    url: str
    """As it was given: the worker's name in the pool."""
    base: str
    """http://host:port/prefix, with neither engine nor options."""
    options: Options

    @property
    def key(self) -> str:
        """The engine's API key, or "" where it wants none. Raises UnknownBackend."""
        name = self.options.key_env
        if name is None:
            return ""
        if not os.environ.get(name):
            raise UnknownBackend(f"{self.url}: key_env names {name}, which is not set")
        return os.environ[name]

    def require(self, *names: str) -> None:
        """Refuse an address that leaves one of these options out. Raises UnknownBackend."""
        for name in names:
            if getattr(self.options, name) is None:
                raise UnknownBackend(
                    f"{self.url}: this engine can't tell; state {name}= in the URL"
                )


def parse(url: str) -> Address:
    """Take `engine+http://...` apart. Raises UnknownBackend."""
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[2]
    if scheme not in ("http", "https") or not parts.hostname:
        raise UnknownBackend(f"{url!r} is no address of an engine: use engine+http://host:port")
    if "@" in parts.netloc:
        raise UnknownBackend("an address holds no credentials: name a variable with key_env=")
    given = parse_qsl(parts.query, keep_blank_values=True)
    names = [name for name, _ in given]
    for name in names:
        if name not in Options.__struct_fields__:
            known = ", ".join(Options.__struct_fields__)
            raise UnknownBackend(f"{url}: no option {name!r}; there are {known}")
        if names.count(name) > 1:
            raise UnknownBackend(f"{url}: {name} is given twice")
    for name, value in given:
        if not value:
            raise UnknownBackend(f"{url}: {name} is empty")
    base = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    return Address(url=url, base=base, options=_options(url, dict(given)))


def _options(url: str, given: dict[str, str]) -> Options:
    tokens_max = given.pop("tokens_max", None)
    if tokens_max is not None and not (
        tokens_max.isascii() and tokens_max.isdigit() and 0 < int(tokens_max) <= _TOKENS_MAX_MAX
    ):
        raise UnknownBackend(f"{url}: tokens_max={tokens_max} is no number of tokens")
    return Options(
        model=given.get("model"),
        revision=given.get("revision"),
        vocabulary=Path(given["vocabulary"]) if "vocabulary" in given else None,
        heads=Path(given["heads"]) if "heads" in given else None,
        tokens_max=int(tokens_max) if tokens_max else None,
        key_env=given.get("key_env"),
    )
