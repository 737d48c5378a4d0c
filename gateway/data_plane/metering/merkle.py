"""Merkle trees over SHA-256, as certificate transparency hashes them (RFC 6962, section 2.1).

A leaf is hashed after a byte 0 and a pair of nodes after a byte 1, so that neither can pass for the
other. A node without a sibling moves up unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32


class Tree:
    """The tree over at least one leaf."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        level = [leaf_hash(leaf) for leaf in leaves]
        self._levels = [level]
        while len(level) > 1:
            above = [
                sha256(b"\1" + left + right).digest()
                for left, right in zip(level[::2], level[1::2], strict=False)
            ]
            if len(level) % 2:
                above.append(level[-1])
            self._levels.append(above)
            level = above

    @property
    def root(self) -> bytes:
        """The hash that stands for all leaves and their order."""
        return self._levels[-1][0]

    def path(self, index: int) -> bytes:
        """Return the hashes that lead from a leaf to the root, one after the other."""
        path = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index //= 2
        return b"".join(path)


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\0" + leaf).digest()


def root_of(leaf: bytes, *, index: int, size: int, path: bytes) -> bytes | None:
    """Return the root of the tree of `size` leaves that has this one at `index`.

    None if no path of this length leads there (RFC 9162, section 2.1.3.2).
    """
    if not 0 <= index < size or len(path) % HASH_BYTES:
        return None
    last = size - 1
    found = leaf_hash(leaf)
    for at in range(0, len(path), HASH_BYTES):
        if last == 0:
            return None
        sibling = path[at : at + HASH_BYTES]
        if index % 2 or index == last:
            found = sha256(b"\1" + sibling + found).digest()
            while index and not index % 2:
                index, last = index // 2, last // 2
        else:
            found = sha256(b"\1" + found + sibling).digest()
        index, last = index // 2, last // 2
    return found if last == 0 else None
