"""Turns `--weights` into a folder: a local one, or a pinned revision from the Hugging Face hub.

Only the files of the published layout are fetched, and weights only as safetensors: no pickles, no
code. A revision must be a full commit, because a branch can change under a running pool.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.engine import StartupError

MODEL = "NovaSearch/stella_en_400M_v5"
REVISION = "1bb50bc7bb726810eac2140e62155b88b0df198f"
"""The commit to which MTEB's results for this model are pinned."""
_FILES = [
    "config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "model.safetensors",
    "vocab.txt",
    "1_Pooling/config.json",
    "2_Dense_*/config.json",
    "2_Dense_*/model.safetensors",
]
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def find_weights(weights: str, revision: str | None, progress: Callable[[str], None]) -> Path:
    """Return the checkpoint's folder, downloading it if `weights` is a hub id. Raises NoWeights."""
    folder = Path(weights)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(weights):
        raise NoWeights(f"--weights {weights}: neither a folder here nor a hub id (owner/name)")
    if revision is None and weights == MODEL:
        revision = REVISION
    if revision is None or not _COMMIT.fullmatch(revision):
        raise NoWeights(f"--weights {weights}: pin it with --revision and a full commit (40 hex)")
    return _download(weights, revision, progress)


class NoWeights(StartupError):
    """There is no folder to load from; the message says what to do."""


def _download(hub_id: str, revision: str, progress: Callable[[str], None]) -> Path:
    # imported here: slow to import, and not needed for a local folder
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # noqa: PLC0415
        DryRunError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
    )

    cache = Path(constants.HF_HUB_CACHE)
    wanted: dict[str, Any] = {"repo_id": hub_id, "revision": revision, "allow_patterns": _FILES}
    try:
        with contextlib.suppress(DryRunError):  # hub unreachable: everything may be cached
            planned = snapshot_download(**wanted, dry_run=True)
            needed = sum(file.file_size or 0 for file in planned if file.will_download)
            _check_space(cache, needed, hub_id)
            progress(f"download: {needed / 1e9:.2f} GB of {hub_id} at {revision[:12]} to {cache}")
        return Path(snapshot_download(**wanted))
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise NoWeights(
            f"{hub_id} at {revision} can't be fetched: {_first_line(error)}; "
            "check the name, the network and HF_TOKEN, or give --weights a local folder"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(cache, hub_id, str(error)) from None
        raise NoWeights(f"{hub_id} can't be stored in {cache}: {error}") from None


def _check_space(cache: Path, needed: int, hub_id: str) -> None:
    there = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        figures = f"{needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free"
        raise _full(cache, hub_id, figures)


def _full(cache: Path, hub_id: str, reason: str) -> NoWeights:
    return NoWeights(
        f"no space for {hub_id} in {cache}: {reason}; "
        "free some, or set HF_HOME to a larger disk. What is there already is kept"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
