"""A Kubernetes that only answers what runs in it, for charts that look before they upgrade."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from testing.chart.rendering import Manifest

_RESOURCES = {"StatefulSet": "statefulsets", "Deployment": "deployments"}


@contextmanager
def holding(running: Sequence[Manifest], folder: Path) -> Iterator[Path]:
    """Serve these workloads; give the kubeconfig that leads there."""
    found = {
        f"{_RESOURCES[m['kind']]}/{m['metadata']['name']}": m
        for m in running
        if m["kind"] in _RESOURCES
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            answer = _ANSWERS.get(path) or found.get("/".join(path.split("/")[-2:]))
            body = json.dumps(answer or _MISSING).encode()
            self.send_response(200 if answer else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_said: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        file = folder / "kubeconfig"
        file.write_text(_KUBECONFIG % server.server_port)
        yield file
        server.shutdown()


_ANSWERS: dict[str, Any] = {
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": "apps",
                "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
            }
        ],
    },
    "/apis/apps/v1": {
        "kind": "APIResourceList",
        "groupVersion": "apps/v1",
        "resources": [
            {"name": name, "namespaced": True, "kind": kind, "verbs": ["get"]}
            for kind, name in _RESOURCES.items()
        ],
    },
}
_MISSING = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "code": 404,
}
_KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: me, user: {}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
current-context: here
"""
