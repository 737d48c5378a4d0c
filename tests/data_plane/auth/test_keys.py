"""The form of a key."""

import re
import string

from hypothesis import given
from hypothesis import strategies as st

from gateway.data_plane.auth import keys
from gateway.keyring import Keyring

SECRET = b"x" * 32
OF_VERSION_0_1 = "sk-sm8vJIe51PWCvntTKNuY5ZJNykiXT46C94NEA8Hg3J0qqn"


def test_minted_keys_are_well_formed_and_differ():
    minted = {keys.mint(SECRET) for _ in range(100)}
    assert len(minted) == 100
    assert all(keys.is_well_formed(key) for key in minted)
    assert all(re.fullmatch(r"sk-[0-9A-Za-z]{46}", key) for key in minted)


def test_version_0_1_s_keys_have_the_same_form_and_none_of_our_macs():
    assert keys.is_well_formed(OF_VERSION_0_1)
    assert not keys.is_ours(OF_VERSION_0_1, [SECRET])


@given(st.integers(0, 48), st.sampled_from(string.digits + string.ascii_letters))
def test_one_wrong_character_is_noticed(position: int, character: str):
    typo = OF_VERSION_0_1[:position] + character + OF_VERSION_0_1[position + 1 :]
    assert keys.is_well_formed(typo) == (typo == OF_VERSION_0_1)


@given(st.text(max_size=60))
def test_no_text_upsets_it(text: str):
    assert not keys.is_well_formed(text)


def test_a_key_is_ours_under_any_secret_of_the_set_and_under_no_other():
    key = keys.mint(SECRET)
    assert keys.is_ours(key, [b"y" * 32, SECRET])
    assert not keys.is_ours(key, [b"y" * 32])
    assert not keys.is_ours(key, [])
    other = keys.mint(SECRET)  # its MAC is its own
    body = key[3:33] + other[33:43]
    assert not keys.is_ours(f"sk-{body}{keys._checksum(body)}", [SECRET])


def test_a_digest_needs_the_deployments_secret():
    key, ours, other = keys.mint(SECRET), Keyring("x" * 32), Keyring("y" * 32)
    assert keys.digests(ours, key) == keys.digests(ours, key)
    assert keys.digests(ours, key) != keys.digests(other, key)
    assert key.encode() not in keys.digests(ours, key).first
    both = keys.digests(Keyring("x" * 32, "y" * 32), key)
    assert both == (ours.digest(key), (other.digest(key),))
