"""One POST to an endpoint: bounded in time and in what is read, and never redirected."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import monotonic

import httpx
import msgspec

from gateway import wall
from gateway.control_plane.alerts.addresses import Addresses, AddressRefused, host_of

SECONDS = 15.0
"""How long an endpoint has for its whole answer, its name's resolution included."""
ANSWER_BYTES = 1_024
"""How much of an answer is read and kept."""

_CONNECT_SECONDS = 5.0
_AT_ONCE = 128


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    milliseconds: int
    status: int | None = None
    """None if there was no answer."""
    answer: str = ""
    """The first bytes of the answer."""
    error: str = ""
    """What went wrong, for the endpoint's owner; empty if it took the message."""
    retry_after_seconds: float = 0.0
    """What the endpoint asked for; zero: nothing."""


class Transport:
    """Sends messages. `tls` stands in for the system's certificates in tests."""

    def __init__(self, addresses: Addresses, *, tls: ssl.SSLContext | None = None) -> None:
        self._addresses = addresses
        self._tls = tls
        self._client: httpx.AsyncClient | None = None

    async def post(
        self, organization_id: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> DeliveryAttempt:
        """Send a message of an organization; raises nothing of what an endpoint can cause.

        Raises LookupsBusy: the message was not sent, and the endpoint is not to blame.
        """
        began = monotonic()
        try:
            async with asyncio.timeout(SECONDS):
                return await self._post(organization_id, url, headers, body, began)
        except AddressRefused as error:
            reason = error.message
        except TimeoutError:
            reason = f"No complete response within {SECONDS:.0f} seconds."
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = _reason(error)
        return DeliveryAttempt(milliseconds=_since(began), error=reason)

    async def close(self) -> None:
        """Close all connections."""
        if self._client:
            await self._client.aclose()
        self._addresses.close()

    async def _post(
        self,
        organization_id: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        began: float,
    ) -> DeliveryAttempt:
        parsed = self._addresses.parse(url)
        addresses = await self._addresses.resolve(organization_id, parsed)
        for address in addresses[:-1]:
            try:
                return await self._send(parsed, address, headers, body, began)
            except (httpx.ConnectError, httpx.ConnectTimeout):  # not sent: try the next address
                continue
        return await self._send(parsed, addresses[-1], headers, body, began)

    async def _send(
        self, url: httpx.URL, address: str, headers: Mapping[str, str], body: bytes, began: float
    ) -> DeliveryAttempt:
        client = self._opened()
        # to the address that was checked; the certificate must still be the name's
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            headers={**headers, "host": url.netloc.decode()},
            content=body,
            extensions={"sni_hostname": host_of(url)},
        )
        response = await client.send(request, stream=True)
        try:
            answer = await _first_bytes(response)
        finally:
            await response.aclose()
        return DeliveryAttempt(
            milliseconds=_since(began),
            status=response.status_code,
            answer=answer.decode("utf-8", "replace").replace("\0", "�"),
            error=_complaint(response),
            retry_after_seconds=_retry_after(response.headers.get("retry-after", "")),
        )

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=self._tls or ssl.create_default_context(),
                timeout=httpx.Timeout(SECONDS, connect=_CONNECT_SECONDS),
                # no connection is used twice: two names may share an address, and a connection
                # proves the name of the first
                limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=0),
                follow_redirects=False,
                # no cookie is kept: it would go to all names at the address that set it
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                trust_env=False,
                headers={
                    "user-agent": "stella-gateway-webhooks/1",
                    "content-type": "application/json",
                    "accept-encoding": "identity",
                },
            )
        return self._client


async def _first_bytes(response: httpx.Response) -> bytes:
    """Read the beginning of an answer; a decoder could make megabytes of it, so none is used."""
    answer = b""
    async for part in response.aiter_raw():
        answer += part[: ANSWER_BYTES - len(answer)]
        if len(answer) >= ANSWER_BYTES:
            break
    return answer


def _complaint(response: httpx.Response) -> str:
    if response.is_success:
        return ""
    if response.is_redirect:
        return "Redirects are not followed: change the webhook's address."
    return f"The server answered {response.status_code}."


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "No connection in time."
    if isinstance(error, httpx.ConnectError):
        detail = str(error).splitlines()[:1]
        return f"No connection: {detail[0][:200] if detail else 'refused'}"
    return f"The connection broke: {type(error).__name__}."


def _retry_after(text: str) -> float:
    """Read a Retry-After header: seconds, or a date. Zero for anything else."""
    if text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # of a date, or of a time zone, that no calendar has
        return 0.0
    if at.tzinfo is None:
        return 0.0
    return max((at - wall.now()).total_seconds(), 0.0)


def _since(began: float) -> int:
    return round((monotonic() - began) * 1000)
