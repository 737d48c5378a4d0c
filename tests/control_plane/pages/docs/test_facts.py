"""The numbers that the documentation names are those of the settings, in the units it says."""

from gateway.control_plane.pages.docs.facts import COMMON, about, limits
from testing.gateways import settings

HALF, WHOLE = 2**19, 2**20


def test_sizes_are_said_in_mebibytes():
    chosen = settings(
        "", body_bytes_max=WHOLE + HALF, organization_bodies_bytes_max=2 * WHOLE + HALF,
        bodies_bytes_max=5000 * WHOLE,
    )  # fmt: skip
    said = {limit.what: limit.most for limit in limits(chosen)}
    assert said["Size of the body"] == "1.5 MiB"
    each = "for each gateway process"
    assert said["Request bodies of one organization in memory at once"] == f"2.5 MiB {each}"
    assert said["Request bodies of all organizations in memory at once"] == f"5,000 MiB {each}"


def test_what_is_worked_out_of_settings():
    chosen = settings("", abandoned_tokens_share=0.125, hold_seconds=2.5, brand="Acme")
    said = about(chosen, "a/b", 512)
    assert said["abandoned_share"] == "12.5%"
    assert (said["hold_seconds"], said["held_seconds"]) == ("2.5", "7.5")  # tries of a client: 3
    assert (said["brand"], said["tokens_max"]) == ("Acme", "512")


def test_within_a_status_what_is_met_most_comes_first():
    codes = [one.code for one in about(settings(""), "a/b", 512)["errors"]]
    common = [code for code in codes if code in COMMON]
    assert codes[: len(common)] == common
    assert common == sorted(common, key=COMMON.index)
    assert len(codes) > len(common)
