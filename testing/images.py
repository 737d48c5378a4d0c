"""`python -m testing.images`: build our images without Docker, then run the service in them.

buildah builds them, in a chroot, as root. Where no registry gives the base image, a stand-in of it
is made: Debian by debootstrap, and this machine's Python in /usr/local. Stella's image is left out
unless asked for (`--stella`): it takes gigabytes. What is built stays in build/images, for the next
time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from testing import compose
from testing.containers import TOP, why_not

STORE = TOP / "build/images"
_BASE = re.compile(r"^ARG PYTHON=(\S+)$", re.MULTILINE)
_LIBRARIES = (
    "ca-certificates", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6",
    "libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g",
)  # fmt: skip
"""What Python is linked with."""
_PASSED_ON = ("PIP_CERT", "SSL_CERT_FILE", "UV_SYSTEM_CERTS")
"""What a base of this machine's network may need to know."""


def main() -> None:
    """Build and test."""
    parser = argparse.ArgumentParser(prog="python -m testing.images", description=__doc__)
    parser.add_argument("--stella", action="store_true", help="Stella's image too")
    args = parser.parse_args()
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if reason := why_not() or (missing and f"missing: {' '.join(missing)} (Debian's packages)"):
        sys.exit(f"images can't be built here: {reason}")
    STORE.mkdir(parents=True, exist_ok=True)
    _buildah("rm", "--all", may_fail=True)  # what the last run mounted
    tag = base_image()
    if not _has(tag) and _buildah("pull", "--quiet", tag, may_fail=True) is None:
        _make_base(tag)
    roots = {}
    for service in compose.read()["services"].values():
        build, image = service.get("build"), service["image"]
        is_wanted = build and (args.stella or build.get("target") != "stella")
        if is_wanted and image not in roots:
            roots[image] = _root_of(image, build)
    images = " ".join(f"{image}={root}" for image, root in roots.items())
    tests = ["tests/deploy/test_compose_runs.py", "tests/deploy/test_images.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "long", *tests],
        env={**os.environ, compose.IMAGES: images}, cwd=TOP, check=False,
    )  # fmt: skip
    sys.exit(done.returncode)


def base_image() -> str:
    """Return the image that ours are from."""
    found = {
        match
        for file in (TOP / "docker").glob("*.Dockerfile")
        for match in _BASE.findall(file.read_text())
    }
    (tag,) = found
    return f"docker.io/library/python:{tag}"


def _root_of(image: str, build: dict[str, str]) -> str:
    """Build an image; return where its root file system is mounted."""
    target = ["--target", build["target"]] if "target" in build else []
    _buildah(
        "build", "--isolation", "chroot", "--pull-never", "--layers", "--format", "docker",
        "--file", build["dockerfile"], *target, "--tag", image, str(TOP),
    )  # fmt: skip
    return _said("mount", _said("from", "--pull-never", f"localhost/{image}"))


def _make_base(tag: str) -> None:
    """Make a stand-in of the base image."""
    with tempfile.TemporaryDirectory(dir=STORE) as folder:
        root = Path(folder) / "root"
        packages = f"--include={','.join(_LIBRARIES)}"
        subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", root], check=True)
        local = root / "usr/local"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        prefix = Path(sys.base_prefix)
        shutil.copy2(prefix / "bin" / version, local / "bin" / version)
        for name in ("python3", "python"):
            (local / "bin" / name).symlink_to(version)
        shutil.copytree(
            prefix / "lib" / version, local / "lib" / version,
            ignore=shutil.ignore_patterns("__pycache__", "site-packages"),
        )  # fmt: skip
        for library in (prefix / "lib").glob("libpython*.so*"):
            shutil.copy2(library, local / "lib" / library.name)
        authorities = Path("/etc/ssl/certs/ca-certificates.crt")
        if authorities.exists():  # of a network that looks into TLS
            shutil.copy2(authorities, root / authorities.relative_to("/"))
        subprocess.run(["chroot", root, "ldconfig"], check=True)
        subprocess.run(["chroot", root, "/usr/local/bin/python", "-m", "ensurepip"], check=True)
        (local / "bin/pip").symlink_to("pip3")
        container = _said("from", "scratch")
        _buildah("copy", "--quiet", container, str(root), "/")
        passed_on = [
            f"--env={name}={os.environ[name]}" for name in _PASSED_ON if name in os.environ
        ]
        path = "--env=PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        _buildah("config", path, *passed_on, container)
        _buildah("commit", "--quiet", container, tag)
        _buildah("rm", container)


def _has(tag: str) -> bool:
    return _buildah("inspect", "--type", "image", tag, may_fail=True) is not None


def _said(*words: str) -> str:
    said = _buildah(*words)
    assert said
    return said.split()[-1]


def _buildah(*words: str, may_fail: bool = False) -> str | None:
    """Run buildah in a store of ours; return what it said, or None if it failed and may."""
    done = subprocess.run(
        ["buildah", f"--root={STORE}/store", f"--runroot={STORE}/run", *words],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if may_fail else None,
        text=True, check=False, cwd=TOP,
    )  # fmt: skip
    if done.returncode and not may_fail:
        sys.exit(f"buildah {words[0]} failed: {done.stdout[-2000:]}")
    return None if done.returncode else done.stdout


if __name__ == "__main__":
    main()
