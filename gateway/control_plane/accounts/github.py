"""Sign-in with GitHub: the OAuth authorization code flow with PKCE, as GitHub documents it.

`state` is a secret of one browser. The PKCE verifier is derived from it and leaves this process
only when the code is exchanged, so an intercepted code is useless. Only the primary, verified
address counts. An account is identified by GitHub's number, since names and addresses change hands.
No token is stored.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import structlog

from gateway.errors import BadRequest, Unavailable
from gateway.settings import derive

_SECONDS = 10.0
_BYTES_MAX = 1_000_000
_RETRY_SECONDS = 10.0

log = structlog.get_logger()


class GithubRefused(BadRequest):
    """GitHub, or the person at GitHub, refused the sign-in."""

    code = "github_refused"


class GithubUnavailable(Unavailable):
    """GitHub can't be reached, or its answer is invalid."""

    code = "github_unavailable"


class GithubAccount(msgspec.Struct, frozen=True):
    """A GitHub account: its number and its verified primary address."""

    subject: str
    email: str


class Github:
    """A client of GitHub, or of an Enterprise server at other addresses."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        url: str,
        api_url: str,
        redirect_url: str,
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._url = url
        self._api_url = api_url
        self._redirect_url = redirect_url
        # made once: loading the certificates takes as long as hundreds of requests
        self._tls = ssl.create_default_context()

    def address(self, state: str) -> str:
        """Return the URL at GitHub where the person signs in."""
        challenge = hashlib.sha256(self._verifier(state).encode()).digest()
        return f"{self._url}/login/oauth/authorize?" + urlencode(
            {
                "client_id": self._client_id,
                "redirect_uri": self._redirect_url,
                "scope": "user:email",
                "state": state,
                "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        )

    async def account(self, code: str, state: str) -> GithubAccount:
        """Exchange a code for its account. Raises GithubRefused or GithubUnavailable."""
        try:
            async with (
                asyncio.timeout(_SECONDS),
                httpx.AsyncClient(verify=self._tls, timeout=_SECONDS) as client,
            ):
                token = await self._token(client, code, state)
                user = await self._get(client, "/user", token, _User)
                emails = await self._get(client, "/user/emails", token, list[_Email])
        except (httpx.HTTPError, TimeoutError, msgspec.MsgspecError, _OddAnswer) as error:
            log.warning("github failed", error=type(error).__name__, detail=str(error)[:200])
            raise GithubUnavailable(
                "GitHub is not responding. Try again in a minute, or sign in with an emailed link.",
                retry_after_seconds=_RETRY_SECONDS,
            ) from None
        for email in emails:
            if email.primary and email.verified:
                return GithubAccount(str(user.id), email.email)
        raise GithubRefused(
            "Your primary address at GitHub is not verified. Verify it there and try again, or "
            "sign in with an emailed link."
        )

    async def _token(self, client: httpx.AsyncClient, code: str, state: str) -> str:
        form = {
            "client_id": self._client_id,
            "client_secret": self._client_secret,
            "code": code,
            "redirect_uri": self._redirect_url,
            "code_verifier": self._verifier(state),
        }
        request = client.build_request(
            "POST",
            f"{self._url}/login/oauth/access_token",
            data=form,
            headers={"accept": "application/json"},
        )
        granted: _Grant = await _answer(client, request, _Grant)
        if granted.access_token:
            return granted.access_token
        # GitHub reports this with a 200; a wrong secret or address is for the operator to fix
        log.warning("github gave no token", error=granted.error[:100])
        raise GithubRefused("This sign-in with GitHub has expired. Start again.")

    async def _get(self, client: httpx.AsyncClient, path: str, token: str, kind: Any) -> Any:
        headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
        }
        request = client.build_request("GET", f"{self._api_url}{path}", headers=headers)
        return await _answer(client, request, kind)

    def _verifier(self, state: str) -> str:
        return derive(self._client_secret, f"pkce|{state}")


class _Grant(msgspec.Struct):
    access_token: str = ""
    error: str = ""


class _User(msgspec.Struct):
    id: int


class _Email(msgspec.Struct):
    email: str
    primary: bool
    verified: bool


class _OddAnswer(Exception):
    """GitHub's answer has a wrong status or size."""


async def _answer(client: httpx.AsyncClient, request: httpx.Request, kind: Any) -> Any:
    body = bytearray()
    answer = await client.send(request, stream=True)
    try:
        if answer.status_code != 200:
            raise _OddAnswer(f"{request.url.path}: {answer.status_code}")
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > _BYTES_MAX:
                raise _OddAnswer(f"{request.url.path}: more than {_BYTES_MAX} bytes")
    finally:
        await answer.aclose()
    return msgspec.json.decode(bytes(body), type=kind)
