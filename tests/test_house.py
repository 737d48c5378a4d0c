"""The plan of the code: a name stands for one thing, and files import one another in one direction.

What import-linter can't say: it knows packages and layers, not classes, names or single files.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_PRODUCT = ("gateway", "backends")


@cache
def parsed() -> dict[str, ast.Module]:
    """Read each module of the product, by its dotted name."""
    return {
        ".".join(file.relative_to(_ROOT).with_suffix("").parts).removesuffix(
            ".__init__"
        ): ast.parse(file.read_text())
        for package in _PRODUCT
        for file in sorted((_ROOT / package).rglob("*.py"))
    }


def imported(tree: ast.Module) -> Iterator[tuple[str, str, str | None]]:
    """Yield (module, name, as) of each import anywhere in a file, under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from ((node.module or "", alias.name, alias.asname) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.asname) for alias in node.names)


def test_no_two_public_classes_have_the_same_name():
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in parsed().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_no_module_of_ours_is_imported_under_another_name():
    modules = parsed()
    renamed = [
        f"{importer}: {module} {name} as {alias}"
        for importer, tree in modules.items()
        for module, name, alias in imported(tree)
        if alias and (module if not name else f"{module}.{name}") in modules
    ]
    assert renamed == []


@pytest.mark.parametrize("package", _PRODUCT)
def test_files_import_one_another_without_a_circle(package: str):
    modules = parsed()
    graph = {
        importer: {
            full if (full := f"{module}.{name}") in modules else module
            for module, name, _ in imported(tree)
            if module in modules
        }
        - {importer}
        for importer, tree in modules.items()
        if importer.partition(".")[0] == package
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")
