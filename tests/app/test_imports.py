"""What a process of a role has imported once it is made: the memory that it takes at its start.

Names are compared, never megabytes: those stand in docs/benchmarks/memory.md.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from testing.gateways import SECRET

_MADE = """
import gc, json, sys
import gateway.__main__, gateway.app
gateway.app.build()
print(json.dumps([gc.get_stats()[0]["collections"], sorted(sys.modules)]))
"""
_NAMES = {"pyjwt": "jwt", "django_js_lib_htmx": "js_lib_htmx"}
"""Distributions whose module is named otherwise."""
_COLLECTIONS_MAX = 50
"""Of garbage, until a process is made. They were 550, a seventh of its CPU time."""
DATA = {
    "aiosqlite",
    "asyncpg",
    "cachetools",
    "cryptography",
    "greenlet",
    "httptools",
    "litestar",
    "msgspec",
    "nanotoken",
    "numpy",
    "orjson",
    "prometheus_client",
    "pybase64",
    "sqlalchemy",
    "structlog",
    "uvicorn",
    "yarl",
}
"""The packages that answering /v1 needs."""


def _imported(tmp_path: Path, role: str) -> set[str]:
    environment = {
        **os.environ,
        "GATEWAY_ROLE": role,
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": f"sqlite:///{tmp_path}/gateway.db",
    }
    made = subprocess.run(
        [sys.executable, "-c", _MADE], env=environment, capture_output=True, text=True, check=True
    )
    collections, imported = json.loads(made.stdout)
    assert collections <= _COLLECTIONS_MAX
    return set(imported)


def _declared(imported: set[str]) -> set[str]:
    """Return the dependencies of the product that are among what was imported."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    names = {line.partition(">")[0].partition("=")[0] for line in project["dependencies"]}
    modules = {name.partition("[")[0].strip().replace("-", "_") for name in names}
    return {_NAMES.get(module, module) for module in modules} & imported


def test_a_process_of_the_data_plane_imports_no_page_and_what_only_pages_need(tmp_path: Path):
    imported = _imported(tmp_path, "data")
    assert _declared(imported) == DATA
    domains = {".".join(name.split(".")[:3]) for name in imported if "control_plane." in name}
    assert {name.removeprefix("gateway.control_plane.") for name in domains} == {
        "accounts",
        "billing",
        "catalog",
        "demand",
        "receipts",
        "secrets",
        "status",
        "trail",
        "web",
        "workers",
    }
    web = {name for name in imported if name.startswith("gateway.control_plane.web.")}
    assert web == {"gateway.control_plane.web.headers"}


def test_what_only_some_deployments_or_moments_need_is_not_imported(tmp_path: Path):
    imported = _imported(tmp_path, "all")
    later = {"aiohttp", "alembic", "opentelemetry.trace", "redis", "stripe", "tokenizers"}
    assert not later & imported
    assert "gateway.control_plane.pages.console.routes" in imported


def test_a_worker_that_is_not_traced_imports_nothing_of_traces():
    program = "import sys, backends.fake; print(*(set(sys.modules) & {'opentelemetry', 'gateway'}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
