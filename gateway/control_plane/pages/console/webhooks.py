"""Webhooks: addresses that hear of events, their secrets, and the log of what was sent."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, URLEncodedBody

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.alerts.deliveries import Deliveries
from gateway.control_plane.alerts.endpoints import Endpoint, Endpoints
from gateway.control_plane.alerts.notices import SUBSCRIBABLE
from gateway.control_plane.pages.console.notice_words import chosen_of, subscribable
from gateway.control_plane.web import snippets
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import owner
from gateway.identifiers import is_id
from gateway.storage.database import Database

PATH = "/console/webhooks"
_ENDPOINT = PATH + "/{endpoint_id:str}"
_PAGE = 25


class WebhookForm(msgspec.Struct, frozen=True):
    """An address, and what is sent to it."""

    url: str = ""
    types: str | list[str] = msgspec.field(default_factory=list)

    @property
    def chosen(self) -> list[str]:
        """The types that are sent."""
        return chosen_of(self.types)
