"""All routes of an application, each registered as Litestar does in production."""

from pathlib import Path

from gateway.app import build
from gateway.fake_stripe.store import SECRET_KEY
from gateway.settings import Settings
from testing import lazy_routes


def test_every_route_can_be_registered(tmp_path: Path):
    """Applications of tests register a route with its first request (testing/lazy_routes.py)."""
    chosen = Settings(
        secret="s" * 32,
        database_url=f"sqlite:///{tmp_path}/gateway.db",
        worker_secret="w" * 32,
        github_client_id="client",
        github_client_secret="secret",
        stripe_secret_key=SECRET_KEY,
        dev_mail=True,
    )
    lazy_routes.register(build(chosen).app)
