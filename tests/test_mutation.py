"""`make mutate` on a module of ten lines: what its tests see is told, and what they do not."""

from pathlib import Path

import pytest

from testing.mutation import changes, page, sample, trial
from testing.mutation.sample import Area, Meeting
from testing.mutation.trial import Tree, Verdict

PURSE = '''
def pay(left: int, cost: int) -> int:
    """Return what is left."""
    if cost > left:
        raise ValueError(f"{cost} is more than {left}")
    return left - cost


IS_FREE = True


def unused(left: int) -> int:
    return left + 1
'''
TESTS = """
import pytest
from purse import pay

def test_it_pays():
    assert pay(7, 3) == 4

def test_it_does_not_pay_more():
    with pytest.raises(ValueError):
        pay(7, 9)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "purse.py").write_text(PURSE)
    (tmp_path / "test_purse.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text("import purse")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Tree(tmp_path, {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"})


def test_a_survivor_is_told_as_one(tree: Tree):
    meeting = Meeting([tree.trace(["test_purse.py"], [str(tree.root / "purse.py")], 60)], 40)
    verdicts = []
    for change in changes.of_python("purse.py", PURSE):
        tests, seconds = meeting.of(change)
        verdicts.append(tree.try_(change, tests, seconds))
    told = {(one.change.before, one.change.after): (one.ran, one.seen_by) for one in verdicts}
    assert told == {
        (">", ">="): (2, None),  # nobody pays exactly all there is
        ("-", "+"): (1, "test_purse.py::test_it_pays"),
        ("True", "False"): (2, None),  # whoever runs the module has its constants
        ("+", "-"): (0, None),
        ("1", "2"): (0, None),
    }
    assert (tree.root / "purse.py").read_text() == PURSE
    survivor = page.Equivalent("purse.py", "return left + 1", "1", "2", "nobody calls it")
    written = page.write(
        verdicts, 6, [survivor], [Area("of purses", ("purse.py",), 1)], seed=1, seconds=40
    )
    assert "| of purses | 5 | 1 | 1 | 3 | 25% |" in written
    assert "| **all** | 5 | 1 | 1 | 3 | 25% |" in written
    assert "1 were not tried." in written
    assert "- purse.py:4 `>` to `>=` (2 tests ran it)" in written
    assert "- purse.py:13 `1` to `2`: nobody calls it" in written


def test_tests_that_run_nothing_of_a_file_meet_none_of_its_changes(tree: Tree):
    (tree.root / "other.py").write_text("one = 1\n")
    (tree.root / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error::coverage.exceptions.CoverageWarning\n"
    )
    traced = tree.trace(["test_purse.py"], [str(tree.root / "other.py")], 60)
    assert (len(traced.tests), traced.lines) == (2, {})


def test_a_run_that_does_not_end_is_noticed(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial, "_START_SECONDS", 2.0)
    endless = changes.Change("purse.py", 4, 4, PURSE.index("if cost"), "if", "while", "")
    loop = changes.Change(
        "purse.py", 5, 5, PURSE.index("raise"), PURSE.splitlines()[4].strip(), "pass", ""
    )
    both = endless.applied(loop.applied(PURSE))
    (tree.root / "purse.py").write_text(both)
    found = tree.try_(changes.of_python("purse.py", both)[-1], ["test_purse.py"], 0.0)
    assert found.seen_by == "they no longer end"


def test_a_change_elsewhere_leaves_the_sample_as_it_is(tmp_path: Path):
    area = sample.Area("purse", ("*.py",), 1.0)
    (tmp_path / "purse.py").write_text(PURSE)
    before = {(one.text, one.after) for one in sample.of_area(tmp_path, area, 2, 1)}
    (tmp_path / "purse.py").write_text(f"# a line\n{PURSE}\nseven = 7\n")
    assert {(one.text, one.after) for one in sample.of_area(tmp_path, area, 2, 1)} == before
    assert {(one.text, one.after) for one in sample.of_area(tmp_path, area, 2, 2)} != before


def test_changes_of_sql_are_of_what_is_in_use():
    first = "CREATE FUNCTION f() RETURNS int AS $$\nSELECT a < 1 -- b < 2\n$$;"
    second = "CREATE OR REPLACE FUNCTION f() RETURNS int AS $$\nSELECT a >= b FOR UPDATE;\n$$;"
    found = changes.of_sql({"1.sql": first, "2.sql": second})
    assert [str(one) for one in found] == [
        "2.sql:2 `>=` to `>`",
        "2.sql:2 `FOR UPDATE` to `nothing`",
    ]


QUERIES = """
def of(tenant: int) -> object:
    first = select(keys).where(keys.c.tenant == tenant, keys.c.id == 7)
    alone = update(keys).where(keys.c.tenant == tenant)
    own = and_(keys.c.tenant == tenant, keys.c.id == 7)
    both = (keys.c.tenant == tenant) & (keys.c.id == 7)
    return select(keys).order_by(keys.c.tenant, keys.c.id), first, alone, own, both
"""


def test_a_query_loses_each_of_its_conditions(tmp_path: Path):
    (tmp_path / "queries.py").write_text(QUERIES)
    area = sample.Area("queries", ("*.py",), 1.0)
    found = sample.of_area(tmp_path, area, 100, 1, only_queries=True)
    assert [one.applied(QUERIES).splitlines()[one.line - 1].strip() for one in found] == [
        "first = select(keys)",
        "first = select(keys).where(keys.c.id == 7)",
        "first = select(keys).where(keys.c.tenant == tenant)",
        "alone = update(keys)",
        "own = and_(keys.c.id == 7)",
        "own = and_(keys.c.tenant == tenant)",
        "both = (keys.c.tenant == tenant) | (keys.c.id == 7)",
        "return select(keys), first, alone, own, both",
        "return select(keys).order_by(keys.c.tenant), first, alone, own, both",
    ]
    assert {"!="} < {one.after for one in sample.of_area(tmp_path, area, 100, 1)}


def test_verdicts_and_changes_have_words():
    (change, *_) = changes.of_python("purse.py", PURSE)
    assert str(Verdict(change, 2, None).change) == "purse.py:4 `>` to `>=`"
