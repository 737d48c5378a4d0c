"""Routes that are registered with their first request.

An application has more than 200 routes, of which a test visits a few; to register all took two
thirds of the time to make one. `register` does so for every route, as Litestar does in production.
"""

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from litestar import Litestar, Router, router
from litestar._asgi.routing_trie import mapping
from litestar._asgi.routing_trie.types import ASGIHandlerTuple, RouteTrieNode
from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

_register_handler = HTTPRouteHandler.on_registration
_create_handler_map = HTTPRoute.create_handler_map
_configure_now = mapping.configure_node
_method_map: Callable[[Any], dict[str, Any]] = Router.route_handler_method_map.fget  # type: ignore[attr-defined]


def use() -> None:
    """Let the applications that this process makes from now on have such routes."""
    BaseRoute._parse_path = staticmethod(cache(BaseRoute._parse_path))  # type: ignore[method-assign]
    router.deepcopy = _not_registered  # type: ignore[attr-defined,assignment]
    mapping.configure_node = _configure_node
    Router.route_handler_method_map = property(_MethodMap)  # type: ignore[assignment,method-assign]
    HTTPRoute.create_handler_map = _do_nothing  # type: ignore[assignment,method-assign]
    HTTPRouteHandler.on_registration = _do_nothing  # type: ignore[assignment,method-assign]


def register(app: Litestar) -> None:
    """Register all routes, as Litestar does without `share`. Raises what is wrong with one."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            _register(app, route)


def _register(app: Litestar, route: HTTPRoute) -> None:
    if not route.route_handler_map:
        for handler in route.route_handlers:
            _register_handler(handler, app)
        _create_handler_map(route)


def _do_nothing(*_: Any) -> None:
    pass


def _configure_node(app: Litestar, route: BaseRoute, node: RouteTrieNode) -> None:
    if not isinstance(route, HTTPRoute):
        _configure_now(app, route, node)  # type: ignore[arg-type]
        return
    node.path_template = route.path_format
    node.path_parameters = node.path_parameters or {}
    for handler in route.route_handlers:
        for method in handler.http_methods:
            node.asgi_handlers[method] = ASGIHandlerTuple(_Unvisited(app, route, handler), handler)
            node.path_parameters[method] = tuple(route.path_parameters.values())


class _MethodMap:
    """The handlers of a router by path and method; Litestar makes all of it for each new route."""

    def __init__(self, made: Router) -> None:
        self._router = made

    def get(self, path: str, default: Any) -> Any:
        """Return the handlers of one path."""
        same = [route for route in self._router.routes if route.path == path]
        return _method_map(SimpleNamespace(routes=same)).get(path, default) if same else default

    def items(self) -> Any:
        """Return all."""
        return _method_map(self._router).items()


class _Unvisited:
    """A handler that is registered with its first request."""

    def __init__(self, app: Litestar, route: HTTPRoute, handler: HTTPRouteHandler) -> None:
        self._made_of = app, route, handler
        self._stack: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._stack is None:
            app, route, handler = self._made_of
            _register(app, route)
            self._stack = mapping.build_route_middleware_stack(app, route, handler)
        await self._stack(scope, receive, send)


def _not_registered(made: Router) -> Router:
    """Return a router itself, not a copy of all it has: it was made for one application."""
    assert made.owner is None
    return made
