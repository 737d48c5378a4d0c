"""Addresses: only public ones, in every spelling, and the one that was checked is connected to."""

import httpx
import pytest

from gateway.control_plane.alerts.addresses import Addresses, AddressRefused, is_public
from gateway.control_plane.alerts.transport import Transport

PUBLIC = "93.184.215.14"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https:///path",
        "https://",
        "example.com/hook",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com/#fragment",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:80/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://hooks.localhost/",
        "https://hooks.localhost./",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://intranet/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://127.0.0.1.",
        "https://0/",
        "https://0.0.0.0/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.100.100.200/",
        "https://169.254.169.254/latest/meta-data/",
        "https://168.63.129.16/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001::1]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[fd00:ec2::254]/",
        "https://[ff02::1]/",
        "https://[2606:4700:4700::1111%1]/",
        "https://[2606:4700:4700::1111%251]/",
        "https://example.com:65536/",
        "https://example.com:99999/",
        "https://①②⑦.⓪.⓪.①/",
        "https://ⓛocalhost/",
        "https://example。com/",
        "https://" + "a" * 2_000 + ".com/",
    ],
)
def test_what_is_refused_without_asking_a_name_server(url: str):
    with pytest.raises(AddressRefused):
        Addresses(find=lambda *_: [PUBLIC]).parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://hooks.example.com/a/b?c=d",
        "https://example.com:8443/",
        "https://example.com:443/",
        "https://xn--bcher-kva.example/",
        "https://a.b.co.uk/%C3%A4",
        f"https://{PUBLIC}/",
        "https://[2606:4700:4700::1111]/",
    ],
)
async def test_what_may_be_sent_to(url: str):
    addresses = Addresses(find=lambda *_: [PUBLIC])
    assert await addresses.resolve("o", addresses.parse(url)) == [PUBLIC]


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["fe80::1%eth0"],
        ["2606:4700:4700::1111%1"],
        ["fd00::1"],
        ["64:ff9b::a00:1"],
        ["2002:a00:1::"],
        [PUBLIC, "10.1.2.3"],
        ["2606:4700:4700::1111", "::1"],
        [],
    ],
)
async def test_a_name_of_a_private_address(found: list[str]):
    addresses = Addresses(find=lambda *_: found)
    with pytest.raises(AddressRefused):
        await addresses.resolve("o", addresses.parse("https://evil.example.com/"))


async def test_a_name_without_an_address():
    def unknown(host: str, port: int) -> list[str]:
        raise OSError(host, port)

    addresses = Addresses(find=unknown)
    with pytest.raises(AddressRefused, match="has no address"):
        await addresses.resolve("o", addresses.parse("https://nowhere.example.com/"))


async def test_private_hosts_are_exact_names():
    addresses = Addresses(["127.0.0.1", "hooks.test"], find=lambda *_: ["127.0.0.1"])
    for url in ("http://127.0.0.1:8080/", "https://127.0.0.1/", "http://HOOKS.test/"):
        assert await addresses.resolve("o", addresses.parse(url)) == ["127.0.0.1"]
    for url in (
        "http://127.0.0.2/",
        "http://a.hooks.test/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:65536/",
    ):
        with pytest.raises(AddressRefused):
            addresses.parse(url)


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to():
    """A name server that answers otherwise the second time (DNS rebinding) is not asked twice."""
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    transport = Transport(Addresses(find=lambda *_: next(answers)))
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"ok"))

    transport._client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    first = await transport.post("o", "https://hooks.example.com/x?y", {}, b"{}")
    assert (first.status, first.error) == (200, "")
    (request,) = seen
    assert str(request.url) == f"https://{PUBLIC}/x?y"
    assert request.headers["host"] == "hooks.example.com"
    assert request.extensions["sni_hostname"] == "hooks.example.com"
    second = await transport.post("o", "https://hooks.example.com/x?y", {}, b"{}")
    assert second.error == "hooks.example.com is not at a public address."
    assert len(seen) == 1
    await transport.close()


def test_what_is_no_address_is_not_public():
    assert not is_public("example.com")
    assert not is_public("")
