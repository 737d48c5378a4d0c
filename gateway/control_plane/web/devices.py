"""The name by which people know a browser, from its User-Agent header."""

from __future__ import annotations

from typing import Any

from litestar import Request

from gateway.control_plane.accounts.sessions import Device

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari/", "Safari"),
)
"""Marks and names, in order: most browsers also send the marks of some that come later."""

_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def device_of(request: Request[Any, Any, Any], origin: str) -> Device:
    """Return where a request comes from; `origin` is its network."""
    return Device(browser=browser_of(request.headers.get("user-agent", "")), network=origin)


def browser_of(agent: str) -> str:
    """Name a browser and its system, such as Firefox on Linux."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "Another browser")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{browser} on {system}" if system else browser
