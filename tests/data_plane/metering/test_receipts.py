"""Receipts: each of a tick verifies, and none that was altered does."""

import hashlib
import re
import sys
from base64 import urlsafe_b64decode
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data_plane.metering import proofs
from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.chain import ReceiptChain
from gateway.data_plane.metering.leases import LeaseRules, Settlement
from gateway.data_plane.metering.merkle import Tree, root_of
from gateway.data_plane.metering.messages import RootLine, TickAnswer, UsageLine
from gateway.data_plane.metering.proofs import InvalidReceipt
from gateway.data_plane.metering.protocol import LeaseProtocol
from gateway.data_plane.metering.receipts import (
    FIRST,
    Receipt,
    ReceiptSigner,
    encode,
    jwk,
    statement,
)
from gateway.identifiers import made_at_ms, new_id

SIGNER = ReceiptSigner("a secret for tests, long enough to pass")
OTHER = ReceiptSigner("another secret, just as long as the first")
KEYS = [OTHER.public, SIGNER.public]
HEARD = TickAnswer(refused=[], written_off=[], leases=[], closed=[], recalled=[])
sizes = st.integers(1, 40)


def line(tokens: int = 1) -> UsageLine:
    request_id = new_id()
    return UsageLine(
        request_id=request_id,
        organization_id=new_id(),
        key_id=new_id(),
        model_id="acme/model",
        price_id=new_id(),
        inputs=1,
        tokens=tokens,
        cost_nanos=8 * tokens,
        lease_id=new_id(),
        budget_id=None,
        budget_lease_id=None,
        created_ms=made_at_ms(request_id),
    )


def batch(size: int):
    return SIGNER.begin([line(n + 1) for n in range(size)], previous=FIRST)


def parts(receipt: str) -> list[bytes]:
    return [urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in receipt.split(".")]


def refused(receipt: str, keys=KEYS) -> bool:
    try:
        proofs.verify(receipt, keys)
    except InvalidReceipt:
        return True
    return False


@given(sizes)
def test_every_receipt_of_a_tick_verifies_and_leads_to_its_root(size: int):
    made = batch(size)
    for index in range(size):
        verified = proofs.verify(made.receipt(index), KEYS)
        assert (verified.receipt.tokens, verified.receipt.cost_nanos) == (
            index + 1,
            str(8 * index + 8),
        )
        assert verified.key_id == SIGNER.key_id
        tree = verified.tree
        assert tree is not None
        assert (tree.root_id, tree.root, tree.size) == (made.root.id, made.root.root, size)
        assert tree.index == index


@given(st.data(), sizes)
def test_no_altered_receipt_verifies(data: st.DataObject, size: int):
    """Whatever bit of it: of the body, the root's id, index, size, signature or the path."""
    index = data.draw(st.integers(0, size - 1))
    body, proof = parts(batch(size).receipt(index))
    whole = bytearray(body + proof)
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    altered = encode(bytes(whole[: len(body)])), encode(bytes(whole[len(body) :]))
    assert refused(".".join(altered))


@pytest.mark.parametrize("field", Receipt.__struct_fields__)
@pytest.mark.parametrize("alone", [True, False])
def test_no_field_can_be_changed(field: str, alone: bool):
    first = line()
    receipt = (
        SIGNER.sign(first) if alone else SIGNER.begin([first, line()], previous=FIRST).receipt(0)
    )
    body, proof = parts(receipt)
    told = msgspec.json.decode(body)
    told[field] = told[field] + 1 if isinstance(told[field], int) else told[field] + "1"
    assert not refused(receipt)
    assert refused(f"{encode(msgspec.json.encode(told))}.{encode(proof)}")


@given(st.data(), st.integers(2, 40))
def test_a_path_is_of_one_leaf_and_of_one_order(data: st.DataObject, size: int):
    made = batch(size)
    one, two = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    body, _ = parts(made.receipt(one))
    _, proof = parts(made.receipt(two))
    assert refused(f"{encode(body)}.{encode(proof)}")
    _, own = parts(made.receipt(one))
    moved = own[:16] + two.to_bytes(4, "big") + own[20:]
    assert refused(f"{encode(body)}.{encode(moved)}")
    for other in set(range(1, 65)) - {size}:
        assert refused(f"{encode(body)}.{encode(own[:20] + other.to_bytes(4, 'big') + own[24:])}")
    for cut in (own[:-32], own + own[-32:], own[:-1]):
        assert refused(f"{encode(body)}.{encode(cut)}")


@pytest.mark.parametrize(
    "text",
    ["", ".", "x", "é.é", "a.b.c", "e30.e30", "e30=." + "A" * 86, f"e30.{'A' * 86}", "A" * 20_000],
)
def test_what_is_no_receipt_is_refused(text: str):
    assert refused(text)


def test_a_part_has_one_spelling():
    receipt = SIGNER.sign(line())
    last = receipt[-1]
    spelled = receipt[:-1] + chr(ord(last) + 1)  # the bits that a decoder drops
    assert urlsafe_b64decode(spelled.split(".")[1] + "==") == parts(receipt)[1]
    assert refused(spelled)


def test_only_a_key_of_the_gateway_s_vouches():
    alone, leaf = SIGNER.sign(line()), batch(3).receipt(1)
    for receipt in (alone, leaf):
        assert not refused(receipt, [SIGNER.public])
        assert refused(receipt, [OTHER.public])
        assert refused(receipt, [])
    assert proofs.verify(alone, KEYS).tree is None


def test_a_signed_statement_is_no_receipt():
    """Nor is a receipt a root: their first bytes differ."""
    made = batch(2)
    stated = statement(made.root.id, 2, FIRST, made.root.root)
    assert refused(f"{encode(stated)}.{encode(made.root.signature)}")


def test_keys_are_read_from_a_set_or_alone():
    document = msgspec.json.encode({"keys": [jwk(key) for key in KEYS]})
    assert proofs.public_keys(document) == KEYS
    assert proofs.public_keys(msgspec.json.encode(jwk(SIGNER.public))) == [SIGNER.public]
    rsa = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
    mixed = msgspec.json.encode({"keys": [rsa, jwk(SIGNER.public)]})
    assert proofs.public_keys(mixed) == [SIGNER.public]
    for wrong in (b"", b"[]", b"{}", msgspec.json.encode({"keys": [rsa]})):
        with pytest.raises(InvalidReceipt):
            proofs.public_keys(wrong)


@pytest.mark.parametrize(
    ("leaves", "root"),
    [
        # the vectors of RFC 6962's reference implementation
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_trees_are_those_of_certificate_transparency(leaves: int, root: str):
    data = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
            "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
    assert Tree([bytes.fromhex(leaf) for leaf in data[:leaves]]).root.hex() == root


def settled(*, answered: bool = False) -> Settlement:
    usage = line()
    entry = Settlement(usage.request_id, usage.cost_nanos, usage)
    entry.answered = answered
    return entry


def test_a_tick_that_is_sent_again_carries_the_same_root_and_the_next_one_follows_it():
    chain = ReceiptChain(SIGNER)
    first = [settled(), settled()]
    root = chain.root_of(first)
    assert root is not None
    assert chain.root_of([*first, settled()]) == root  # its answer was lost
    assert chain.root_of([]) == root
    chain.heard()
    assert chain.root_of([]) is None
    second = chain.root_of([settled()])
    assert second is not None
    assert root.previous == FIRST
    assert (
        second.previous == hashlib.sha256(statement(root.id, root.size, FIRST, root.root)).digest()
    )


def test_what_has_no_tick_yet_is_signed_by_itself():
    chain = ReceiptChain(SIGNER)
    waiting, journaled = settled(), settled(answered=True)
    root = chain.root_of([waiting, journaled])
    late = settled()
    chain.root_of([waiting, journaled, late])
    assert root is not None
    assert root.size == 1
    for entry in (
        waiting,
        journaled,
        late,
    ):  # the journal lets them out: nobody has heard of a tick
        receipt = chain.receipt(entry)
        assert receipt is not None
        assert proofs.verify(receipt, KEYS).tree is None
    waiting.pending = late.pending = False
    told = [proofs.verify(chain.receipt(entry) or "", KEYS).tree for entry in (waiting, late)]
    assert told[0] is not None
    assert told[0].root_id == root.id
    assert told[1] is None


def test_without_a_signer_there_is_neither_root_nor_receipt():
    chain = ReceiptChain(None)
    entry = settled()
    assert chain.root_of([entry]) is None
    assert chain.receipt(entry) is None


def test_a_tick_whose_answer_was_lost_is_followed_by_one_with_its_root():
    book = LeaseBook(LeaseRules(), lambda: 0.0)
    talk = LeaseProtocol(book, ReceiptChain(SIGNER))
    for entry in (one := settled(), two := settled()):
        book.replay(entry)
    lost = talk.compose()
    assert lost is not None
    talk.failed(lost)
    book.replay(three := settled())
    again = talk.compose()
    assert again is not None
    assert again.tick.root == lost.tick.root is not None
    assert again.entries == [one, two, three]
    talk.applied(again, HEARD)
    book.replay(settled())
    after = talk.compose()
    assert after is not None
    assert after.tick.root is not None
    assert after.tick.root.previous != FIRST


DOCUMENTED = Path(__file__).parents[3] / "docs" / "receipts.md"


@pytest.mark.parametrize(("size", "index"), [(0, 0), (1, 0), (5, 4), (6, 1), (7, 6), (8, 3)])
def test_the_documented_program_checks_receipts(
    size: int,
    index: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "receipts").mkdir()
    keys = msgspec.json.encode({"keys": [jwk(SIGNER.public)]})
    (tmp_path / "receipts" / "key").write_bytes(keys)
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    receipt = batch(size).receipt(index) if size else SIGNER.sign(line())
    monkeypatch.setattr(sys, "argv", ["check.py", receipt, tmp_path.as_uri()])
    exec(program, {})
    assert "'cost_nanos': '" in capsys.readouterr().out
    body, proof = parts(receipt)
    altered = f"{encode(body)}.{encode(proof[:-1] + bytes([proof[-1] ^ 1]))}"
    monkeypatch.setattr(sys, "argv", ["check.py", altered, tmp_path.as_uri()])
    with pytest.raises(SystemExit, match="no key signed this"):
        exec(program, {})


def test_a_path_ends_at_the_root():
    leaf, sibling = b"leaf", bytes(32)
    assert root_of(leaf, index=0, size=1, path=b"") is not None
    assert root_of(leaf, index=0, size=1, path=sibling) is None
    assert root_of(leaf, index=0, size=2, path=b"") is None
    assert root_of(leaf, index=2, size=2, path=sibling) is None
    assert root_of(leaf, index=-1, size=2, path=sibling) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["good", "lost", "answer lost"]), st.integers(0, 3)), max_size=30
    )
)
def test_the_chain_has_no_gap_and_no_fork_whatever_becomes_of_ticks(steps: list[tuple[str, int]]):
    book = LeaseBook(LeaseRules(), lambda: 0.0)
    chain = ReceiptChain(SIGNER)
    talk = LeaseProtocol(book, chain)
    log: dict[str, RootLine] = {}
    entries: list[Settlement] = []
    for fate, count in [*steps, ("good", 1)]:
        for _ in range(count):
            entries.append(settled())
            book.replay(entries[-1])
        sent = talk.compose()
        if sent is None:
            continue
        if fate != "lost" and sent.tick.root is not None:
            assert log.setdefault(sent.tick.root.id, sent.tick.root) == sent.tick.root
        if fate == "good":
            talk.applied(sent, HEARD)
        else:
            talk.failed(sent)
    ends = {proofs.digest(root.id, root.size, root.previous, root.root) for root in log.values()}
    followed = [root.previous for root in log.values()]
    assert len(set(followed)) == len(followed)
    assert set(followed) <= {FIRST, *ends}
    for entry in entries:
        assert not entry.pending
        tree = proofs.verify(chain.receipt(entry) or "", KEYS).tree
        assert tree is None or log[tree.root_id].root == tree.root
