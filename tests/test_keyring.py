"""The deployment's secret while it is rotated."""

import pytest

from backends.authentication import parse_secrets
from gateway.keyring import Keyring, derive
from gateway.sealing import Seal, Unsealable

OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def test_the_first_makes_and_all_verify():
    old, both, new = Keyring(OLD), Keyring(NEW, OLD), Keyring(NEW)
    assert both.prove("a") == new.prove("a")
    assert both.accepts("a", old.prove("a"))
    assert both.accepts("a", new.prove("a"))
    assert not new.accepts("a", old.prove("a"))
    assert not both.accepts("b", old.prove("a"))
    assert both.digests("a") == (new.digest("a"), old.digest("a"))
    assert both.derive("x").all == (derive(NEW, "x"), derive(OLD, "x"))


def test_a_fingerprint_gives_nothing_away():
    (told,) = Keyring(OLD).fingerprints
    assert told != Keyring(NEW).fingerprints[0]
    assert told not in {OLD, derive(OLD, "sessions")}
    assert len(told) == 12


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        (OLD, (OLD,)),
        (f"{NEW},{OLD}", (NEW, OLD)),
        (f"{NEW}, {OLD}\n", (NEW, OLD)),
        (f"{NEW}\nof version 0.1, with a comma\n", (NEW, "of version 0.1, with a comma")),
        ("of version 0.1, with a comma in it, and long", None),
    ],
)
def test_a_comma_separates_secrets_that_are_long_enough(text: str, secrets: tuple[str, ...] | None):
    assert Keyring.parse(text).all == (secrets or (text,))
    assert b"|".join(parse_secrets(text)).decode() == "|".join(secrets or (text,))


def test_what_an_older_secret_sealed_is_read():
    old, both, new = (Seal(Keyring(*all_)) for all_ in ((OLD,), (NEW, OLD), (NEW,)))
    sealed = old.close("text", owner="a")
    assert both.open(sealed, owner="a") == "text"
    assert both.sealed_by(sealed, owner="a") == 1
    assert new.open(both.close("text", owner="a"), owner="a") == "text"
    for seal, owner in ((new, "a"), (both, "b")):
        assert seal.sealed_by(sealed, owner=owner) is None
        with pytest.raises(Unsealable):
            seal.open(sealed, owner=owner)
