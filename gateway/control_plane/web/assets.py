"""Styles, scripts, fonts: read once, named after their content, and cached by browsers for a year.

htmx comes from its package and must have the reviewed digest, so that no page runs a script that
was not reviewed.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect

from gateway.errors import NotFound

HTMX_SHA256 = "491955cd1810747d7d7b9ccb936400afb760e06d25d53e4572b64b6563b2784e"

_FOLDER = Path(__file__).parent / "static"
_MEDIA = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
_PACKED = (".css", ".js", ".svg")
"""Types that gzip makes smaller."""
_OWN_URL = re.compile(rb'url\("([\w.-]+)"\)')
_CACHE = "public, max-age=31536000, immutable"


class TamperedAsset(Exception):
    """A package's file is not the reviewed one."""


class Asset(NamedTuple):
    """A file as it is served."""

    media: str
    body: bytes
    packed: bytes
    """The body as gzip; empty for types that gzip doesn't make smaller."""


class Assets:
    """All files, by the name that holds their digest."""

    def __init__(self) -> None:
        files = {file.name: file.read_bytes() for file in _FOLDER.iterdir() if file.is_file()}
        files["htmx.js"] = read_htmx()
        # styles name other files, so they come last, when the others' names are known
        self._names: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        for name in sorted(files, key=lambda name: name.endswith(".css")):
            body = self._with_urls(files[name]) if name.endswith(".css") else files[name]
            self._names[name] = _fingerprinted(name, body)
            self._assets[self._names[name]] = _asset(Path(name).suffix, body)

    def url(self, name: str) -> str:
        """Return the path of a file. Raises KeyError for an unknown name."""
        return f"/static/{self._names[name]}"

    def find(self, name: str) -> Asset | None:
        """Return the file of a fingerprinted name."""
        return self._assets.get(name)

    def _with_urls(self, style: bytes) -> bytes:
        def url(match: re.Match[bytes]) -> bytes:
            return b'url("' + self.url(match[1].decode()).encode() + b'")'

        return _OWN_URL.sub(url, style)


def read_htmx() -> bytes:
    """Read htmx from its package. Raises TamperedAsset."""
    spec = importlib.util.find_spec("js_lib_htmx")
    assert spec
    assert spec.origin
    body = (Path(spec.origin).parent / "static" / "htmx" / "htmx.min.js").read_bytes()
    found = hashlib.sha256(body).hexdigest()
    if found != HTMX_SHA256:
        raise TamperedAsset(f"htmx.min.js has sha256 {found}, not {HTMX_SHA256}")
    return body


def routes(assets: Assets) -> list[HTTPRouteHandler]:
    """Make the routes of all files, and of /favicon.ico, which is asked for without a page."""

    @get("/static/{name:str}", sync_to_thread=False)
    def read_asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        found = assets.find(name)
        if found is None:
            raise NotFound("There is no such file.")
        headers = {"cache-control": _CACHE}
        if not found.packed:
            return Response(found.body, media_type=found.media, headers=headers)
        headers["vary"] = "accept-encoding"
        if not _takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(found.body, media_type=found.media, headers=headers)
        headers["content-encoding"] = "gzip"
        return Response(found.packed, media_type=found.media, headers=headers)

    @get("/favicon.ico", sync_to_thread=False)
    def find_favicon() -> Redirect:
        # not permanent: the address holds the digest of the file
        return Redirect(assets.url("favicon.svg"), status_code=302)

    return [read_asset, find_favicon]


def _asset(suffix: str, body: bytes) -> Asset:
    packed = gzip.compress(body, mtime=0) if suffix in _PACKED else b""
    return Asset(_MEDIA[suffix], body, packed)


def _takes_gzip(accepted: str) -> bool:
    """Tell whether a client takes gzip, by its Accept-Encoding."""
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _fingerprinted(name: str, body: bytes) -> str:
    path = Path(name)
    return f"{path.stem}-{hashlib.sha256(body).hexdigest()[:12]}{path.suffix}"
