"""What the settings say of workers is checked before anything starts."""

import pytest

from gateway.app.core import worker_sources
from gateway.control_plane.workers.trust import guest_networks, worker_trust
from gateway.settings import Settings, SettingsError
from testing.gateways import SECRET

WORKER_SECRET = "a secret of workers, long enough to pass"


def settings(**more: str) -> Settings:
    return Settings(secret=SECRET, **more)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"workers": "m=http://gpu-1:9000"}, "GATEWAY_WORKERS: .*GATEWAY_WORKER_SECRET"),
        ({"workers": "m=dns+https://workers:9000"}, "GATEWAY_WORKERS: .*GATEWAY_WORKER_SECRET"),
        ({"worker_networks": "10.0.0.1/8"}, "GATEWAY_WORKER_NETWORKS: .*host bits"),
        ({"worker_ca": "/nowhere.pem"}, "GATEWAY_WORKER_CA: .*nowhere"),
    ],
)
def test_what_can_not_be_is_named(more: dict[str, str], reason: str):
    with pytest.raises(SettingsError, match=reason):
        worker_sources(settings(**more))


def test_workers_on_this_machine_need_no_secret():
    places = "m=http://127.0.0.1:9000 m=http://localhost:9 m=unix:/run/w m=http://[::1]:1"
    assert len(worker_sources(settings(workers=places))["m"]) == 4


def test_a_secret_makes_the_key_of_each():
    given = settings(workers="m=http://gpu-1:9000", worker_secret=WORKER_SECRET)
    assert worker_sources(given)["m"]
    one, other = (worker_trust(given).credentials(name) for name in ("gpu-1:9000", "gpu-2:9000"))
    assert one.used
    assert one.names != other.names
    two = settings(worker_secret=f"{'abcdefghij' * 4},{'0123456789' * 4}")
    assert worker_trust(two).credentials("gpu-1:9000").names.count(b",") == 1


def test_guests_are_in_private_networks_and_never_at_the_gateway_s_ports(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("backends.guests._is_own", lambda *_: False)
    usual = guest_networks(settings())
    assert not usual.refusal("10.0.0.7", 9000)
    assert usual.refusal("127.0.0.1", 9000)
    assert usual.refusal("203.0.113.9", 9000)
    here = guest_networks(
        settings(worker_networks="127.0.0.0/8", public_url="http://127.0.0.1:8080")
    )
    assert not here.refusal("127.0.0.1", 9000)
    assert "own" in here.refusal("127.0.0.1", 8080)
