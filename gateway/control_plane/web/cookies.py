"""Cookies of this host alone: no script can read them, and no neighboring host can plant one."""

from __future__ import annotations

from litestar.datastructures import Cookie


class HostCookie:
    """One cookie, and how it is set and removed."""

    def __init__(self, name: str, *, secure: bool, seconds: int | None = None) -> None:
        """Without `seconds` it lasts until the browser closes."""
        # browsers refuse a cookie of this prefix that another host sets
        self.name = f"__Host-{name}" if secure else name
        self._secure = secure
        self._seconds = seconds

    def holding(self, value: str) -> Cookie:
        """Return the cookie with a value."""
        return self._cookie(value, self._seconds)

    def empty(self) -> Cookie:
        """Return the cookie that removes it."""
        return self._cookie("", 0)

    def _cookie(self, value: str, max_age: int | None) -> Cookie:
        return Cookie(
            key=self.name,
            value=value,
            max_age=max_age,
            httponly=True,
            secure=self._secure,
            samesite="lax",  # GitHub sends browsers back by a link: strict would lose it
        )
