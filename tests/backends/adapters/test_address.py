"""Addresses: the prefix selects the engine, and no typo becomes a silent default."""

from pathlib import Path

import pytest

from backends.adapters.address import parse
from backends.adapters.hop import HopBackend
from backends.adapters.stock import StockBackend
from backends.adapters.trust import Trust
from backends.registry import UnknownBackend, connect


def test_the_prefix_names_the_engine(vocabulary: Path):
    assert isinstance(connect("http://worker:80", Trust(b"a secret")), HopBackend)
    assert isinstance(connect("http://127.0.0.1:80"), HopBackend)
    assert isinstance(connect("unix:/run/worker"), HopBackend)
    more = f"?vocabulary={vocabulary}&revision=r1&tokens_max=512"
    for engine in ("tei+http", "tei+https", "openai+http", "infinity+http"):
        backend = connect(f"{engine}://worker:80/prefix/{more}")
        assert isinstance(backend, StockBackend)
        assert backend.url == f"{engine}://worker:80/prefix/{more}"


def test_a_worker_on_another_machine_needs_a_secret():
    with pytest.raises(UnknownBackend, match="GATEWAY_WORKER_SECRET"):
        connect("http://worker:80")


def test_options_are_read():
    address = parse("tei+https://worker:80/a/b/?model=x%2Fy&tokens_max=512&heads=/h&revision=r")
    assert address.base == "https://worker:80/a/b"
    options = address.options
    assert (options.model, options.revision, options.tokens_max) == ("x/y", "r", 512)
    assert (options.heads, options.vocabulary, options.key_env) == (Path("/h"), None, None)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://worker", "not a worker's address"),
        ("bogus+http://worker:80", "no engine 'bogus'"),
        ("tei+ftp://worker", "not an engine's address"),
        ("tei+http://", "not an engine's address"),
        ("openai+http://user:secret@worker", "no credentials"),
        ("tei+http://user:secret@", "no credentials"),
        ("tei+http://user:secret@worker:99999", "out of range"),
        ("http://worker:99999", "out of range"),
        ("openai+http://worker?revison=r1", "no option 'revison'"),
        ("openai+http://worker?dimensions=512", "no option 'dimensions'"),
        ("openai+http://worker?revision=", "revision is empty"),
        ("openai+http://worker?revision=a&revision=b", "revision is given twice"),
        ("openai+http://worker", "state revision="),
        ("openai+http://worker?revision=a&tokens_max=many", r"\$.tokens_max"),
        ("openai+http://worker?revision=a&tokens_max=0", r">= 1.*\$.tokens_max"),
        ("openai+http://worker?revision=a&tokens_max=9999999", r"<= 1000000.*\$.tokens_max"),
        ("openai+http://worker?revision=a&key_env=NOT_SET_HERE", "NOT_SET_HERE, which is not set"),
        ("openai+http://worker?revision=a&vocabulary=/no/such/file", "No such file"),
        ("tei+http://worker", "state vocabulary="),
        (
            "infinity+http://worker",
            "state vocabulary= and revision= and tokens_max= in the URL .see docs/engines.md",
        ),
    ],
)
def test_what_can_not_be_is_refused_by_name(url: str, reason: str):
    with pytest.raises(UnknownBackend, match=reason) as caught:
        connect(url)
    assert "secret" not in str(caught.value)


def test_an_engine_s_key_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    address = parse("openai+http://worker?revision=a&key_env=ENGINE_KEY")
    monkeypatch.setenv("ENGINE_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(UnknownBackend, match=r"ENGINE_KEY_FILE: .* can't be read"):
        _ = address.key
    (tmp_path / "key").write_text("of the engine\n")
    assert address.key == "of the engine"


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path):
    path = tmp_path / "vocab.txt"
    path.write_text("[CLS]\nword\n")
    with pytest.raises(UnknownBackend, match=r"has no \[SEP\], \[UNK\]"):
        connect(f"tei+http://worker?vocabulary={path}")


def test_a_folder_without_heads_is_refused_at_once(tmp_path: Path):
    with pytest.raises(UnknownBackend, match="no 2_Dense_<D>/model"):
        connect(f"openai+http://127.0.0.1:1?revision=r1&heads={tmp_path}")
