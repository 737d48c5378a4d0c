"""Where clients and operators reach the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from gateway.settings.declaring import SECRET, Natural, text


@dataclass(frozen=True, kw_only=True)
class AddressSettings:
    """Where clients and operators reach the service."""

    public_url: Annotated[str, text("The address that clients use, without a trailing slash.")] = (
        "http://127.0.0.1:8080"
    )
    admin_url: Annotated[
        str,
        text(
            "The address that operators use for the back office, without a trailing slash, at the "
            "host of GATEWAY_PUBLIC_URL. Empty: GATEWAY_PUBLIC_URL, or its host at "
            "GATEWAY_ADMIN_PORT."
        ),
    ] = ""
    admin_port: Annotated[
        int,
        Meta(ge=0, le=65_535),
        text(
            "The port of a second listener. Then only this one serves /admin (404 on the public "
            "one), and /metrics without a token. Zero: there is none."
        ),
    ] = 0
    admin_host: Annotated[str, text("Where that listener listens.")] = "127.0.0.1"
    metrics_token: Annotated[
        str,
        SECRET,
        text(
            "The token that monitoring sends (`Authorization: Bearer`) for /metrics and for the "
            "details of /health/ready on the public port. Empty: only the second listener has "
            "them."
        ),
    ] = ""
    trusted_proxies: Annotated[
        Natural,
        text("How many of your own proxies add to X-Forwarded-For. Zero: the header is ignored."),
    ] = 0

    @property
    def admin_address(self) -> str:
        """Where operators open the back office."""
        if self.admin_url or not self.admin_port:
            return self.admin_url or self.public_url
        public = urlsplit(self.public_url)
        return f"{public.scheme}://{public.hostname}:{self.admin_port}"

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us by TLS, so that cookies are sent by nothing else."""
        return self.public_url.startswith("https://")
