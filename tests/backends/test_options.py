"""Whom a worker asks for a proof follows from where it listens."""

import argparse
from pathlib import Path

import pytest

from backends.authentication import derive_key
from backends.options import Options, add_options, keys_of, options_of

SECRET = "of the gateways alone"
OWN = derive_key(SECRET.encode(), "gpu-7:9000").hex()
OPEN = Options(host="0.0.0.0")
NAMED = Options(host="0.0.0.0", announce_as="https://gpu-7:9000")


@pytest.mark.parametrize(
    "options", [OPEN, NAMED, Options(host="10.0.0.7"), Options(announce_as="http://gpu-7:9000")]
)
def test_others_reach_it_so_it_has_a_key_or_does_not_start(options: Options):
    assert not options.is_local
    with pytest.raises(SystemExit, match="GATEWAY_WORKER_KEY must be set"):
        keys_of(options, 9000, {})
    assert keys_of(options, 9000, {"GATEWAY_WORKER_KEY": OWN}) == (bytes.fromhex(OWN),)


@pytest.mark.parametrize("options", [Options(), Options(host="::1"), Options(uds=Path("/run/w"))])
def test_only_this_machine_reaches_it_so_it_needs_none(options: Options):
    assert options.is_local
    assert keys_of(options, 9000, {}) == ()


def test_the_gateways_secret_makes_the_keys_of_its_address():
    assert keys_of(NAMED, 9000, {"GATEWAY_WORKER_SECRET": SECRET}) == (bytes.fromhex(OWN),)
    here = keys_of(Options(host="10.0.0.7"), 9000, {"GATEWAY_WORKER_SECRET": SECRET})
    assert here == (derive_key(SECRET.encode(), "10.0.0.7:9000"),)
    with pytest.raises(SystemExit, match="--announce-as"):
        keys_of(OPEN, 9000, {"GATEWAY_WORKER_SECRET": SECRET})


def test_a_key_may_be_in_a_file(tmp_path: Path):
    file = tmp_path / "key"
    file.write_text(f"{OWN}\n")
    named = {"GATEWAY_WORKER_KEY_FILE": str(file)}
    assert keys_of(OPEN, 9000, named) == (bytes.fromhex(OWN),)
    with pytest.raises(SystemExit, match="use one of them"):
        keys_of(OPEN, 9000, {**named, "GATEWAY_WORKER_KEY": OWN})
    file.unlink()
    with pytest.raises(SystemExit, match="can't be read: No such file"):
        keys_of(OPEN, 9000, named)


def test_while_they_are_rotated_there_are_several():
    other = "cd" * 32
    named = {"GATEWAY_WORKER_KEY": f"{OWN}, {other}"}
    assert keys_of(OPEN, 9000, named) == (bytes.fromhex(OWN), bytes.fromhex(other))
    secrets = ("old secret of the gateways alone", "new secret of the gateways alone")
    made = keys_of(NAMED, 9000, {"GATEWAY_WORKER_SECRET": ",".join(secrets)})
    (first,) = keys_of(NAMED, 9000, {"GATEWAY_WORKER_SECRET": secrets[0]})
    assert made[0] == first
    assert made[1] != first


def test_what_is_no_key_is_refused_without_being_shown():
    with pytest.raises(SystemExit, match="not a key") as refused:
        keys_of(OPEN, 9000, {"GATEWAY_WORKER_KEY": "mistyped"})
    assert "mistyped" not in str(refused.value)


def test_to_announce_itself_it_needs_a_key():
    with pytest.raises(SystemExit, match="--announce needs GATEWAY_WORKER_KEY"):
        keys_of(Options(announce=("http://gateway",)), 9000, {})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--announce-as", "gpu-7"], "names no host and port"),
        (["--tls-cert", "a.pem"], "belong together"),
        (["--uds", "/run/w", "--tls-cert", "a.pem", "--tls-key", "a.key"], "needs no TLS"),
    ],
)
def test_options_that_can_not_be_are_named(given: list[str], reason: str):
    parser = argparse.ArgumentParser()
    add_options(parser)
    with pytest.raises(SystemExit, match=reason):
        options_of(parser.parse_args(given))


def test_options_are_read():
    parser = argparse.ArgumentParser()
    add_options(parser, drain_seconds=5.0)
    given = ["--host", "::", "--announce", "https://a", "--announce", "https://b"]
    read = options_of(parser.parse_args(given))
    assert read == Options(host="::", announce=("https://a", "https://b"), drain_seconds=5.0)
    assert read.url(9000) == "http://[::]:9000"
