"""A browser without a screen: follows redirects, keeps cookies, fills in forms."""

import re
from typing import Any

import httpx

_TOKEN = re.compile(r'name="csrf_token" value="([0-9a-f]{64})"')


class Browser:
    """Visits pages of an application in this process."""

    def __init__(self, app: Any, *, address: str = "203.0.113.7") -> None:
        transport = httpx.ASGITransport(app, client=(address, 4242))
        self.http = httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", follow_redirects=True
        )
        self.page = httpx.Response(204)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Open a page."""
        self.page = await self.http.get(path, **options)
        return self.page

    async def submit(self, path: str, *, token: str | None = None, **fields: str) -> httpx.Response:
        """Send a form of the page that is open."""
        fields["csrf_token"] = self.token if token is None else token
        self.page = await self.http.post(path, data=fields)
        return self.page

    @property
    def token(self) -> str:
        """The form token of the page that is open."""
        found = _TOKEN.search(self.page.text)
        assert found, f"no form on {self.page.url}"
        return found[1]

    async def close(self) -> None:
        """Close it."""
        await self.http.aclose()
