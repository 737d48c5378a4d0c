"""The changes that can be made to a file, each a slip that a programmer might make.

A bound that is off by one, a condition that is turned round or left out, a call or an assignment
that is missing, a condition that a query loses. What only a log, a metric or a reader sees
is not changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_SWAPPED = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "//"), ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"), ast.Mod: ("%", "*"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
    ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
}  # fmt: skip
_SWAPPED_CALLS = {"min": "max", "max": "min", "all": "any", "any": "all"}
_CONDITIONS = {"where", "and_", "or_"}
"""Any one of their arguments is dropped, also the first, which often names the organization."""
_DROPPED_CALLS = {"where", "with_for_update", "limit", "order_by", "on_conflict_do_nothing"}
_TUNING = 16
"""One more or less of a larger number is seldom a mistake."""
_UNSEEN = {"log", "metrics", "warnings"}
"""What is called on these is for people who watch."""

_SQL = [
    (re.compile(pattern), after)
    for pattern, after in (
        (r"(?<![<>=!:])<(?![<>=])", "<="),
        (r"(?<!<)<=", "<"),
        (r"(?<![-<>=])>(?![>=])", ">="),
        (r"(?<![>=])>=", ">"),
        (r"(?<= )\+(?= )", "-"),
        (r"(?<= )-(?= )", "+"),
        (r"\bAND\b(?! \d)", "OR"),
        (r"\bOR\b(?! REPLACE)", "AND"),
        (r"\bIS NOT NULL\b", "IS NULL"),
        (r"\bIS NULL\b", "IS NOT NULL"),
        (r"\bNOT (?!NULL|EXISTS\b)", ""),
        (r"\bgreatest\(", "least("),
        (r"\bleast\(", "greatest("),
        (r"(?<![\w$.'])(?:0|1)(?![\w.'])", "2"),
        (r"\s+FOR (?:NO KEY )?UPDATE(?: OF \w+)?", ""),
        (r"(?m)^\s+AND .*(?=\n)", ""),
    )
]
_FUNCTION = re.compile(
    r"CREATE (?:OR REPLACE )?FUNCTION (\w+)\(.*?AS \$\$(.*?)\$\$", re.DOTALL | re.IGNORECASE
)


class Change(NamedTuple):
    """One change to a file."""

    path: str
    line: int
    first: int
    """The first line of its statement, which is where a tracer sees it."""
    start: int
    """Where `before` begins, in characters."""
    before: str
    after: str
    text: str
    """The line it is on."""
    of_query: bool = False
    """Whether it takes a condition, a lock or an order from a query."""

    def applied(self, source: str) -> str:
        """Return the changed file."""
        end = self.start + len(self.before)
        assert source[self.start : end] == self.before, "the file is another"
        return source[: self.start] + self.after + source[end:]

    def __str__(self) -> str:
        before, after = (" ".join(part.split()) for part in (self.before, self.after))
        return f"{self.path}:{self.line} `{before}` to `{after or 'nothing'}`"


def of_python(path: str, source: str) -> list[Change]:
    """Return every change to a module, in the order of the file."""
    finder = _Finder(source)
    return [_change(path, source, *one) for one in sorted(set(finder.find()))]


def of_sql(sources: dict[str, str]) -> list[Change]:
    """Return every change to the functions of these files that no later file replaces."""
    live: dict[str, tuple[str, int, str]] = {}
    for path, source in sorted(sources.items()):
        for function in _FUNCTION.finditer(source):
            live[function[1]] = (path, function.start(2), function[2])
    found = []
    for path, at, body in live.values():
        bare = re.sub(r"--.*|'[^']*'", lambda match: " " * len(match[0]), body)
        for pattern, after in _SQL:
            for match in pattern.finditer(bare):
                start, end = at + match.start(), at + match.end()
                found.append(_change(path, sources[path], start, end, after, 0))
    return sorted(found)


def _change(
    path: str, source: str, start: int, end: int, after: str, first: int, of_query: bool = False
) -> Change:
    lead = len(source[start:end]) - len(source[start:end].lstrip("\n"))
    line = source.count("\n", 0, start + lead) + 1
    text = source.splitlines()[line - 1].strip()
    first = min(first or line, line)
    return Change(path, line, first, start, source[start:end], after, text, of_query)


class _Finder(ast.NodeVisitor):
    """Collects changes: start, end, what stands there instead, its statement's line, of_query."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._bytes = [line.encode() for line in source.splitlines(keepends=True)]
        self._found: list[tuple[int, int, str, int, bool]] = []
        self._depth = 0
        """Of functions; what stands outside of them are names and tuning."""
        self._is_constructor = False
        self._first = 1

    def find(self) -> Sequence[tuple[int, int, str, int, bool]]:
        self.visit(ast.parse(self._source))
        return self._found

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self._first = node.lineno
        super().visit(node)

    # -- what is left alone -----------------------------------------------------------------------

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Leave annotations."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """Leave what is for our own mistakes."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._depth += 1
        self._is_constructor = node.name == "__init__"
        for child in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(child)
        self._depth -= 1

    # -- what is changed --------------------------------------------------------------------------

    def visit_Compare(self, node: ast.Compare) -> None:
        for (left, right), operator in zip(
            pairwise((node.left, *node.comparators)), node.ops, strict=True
        ):
            self._swap(left, right, operator)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        is_text = any(
            isinstance(side, ast.JoinedStr)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
            for side in (node.left, node.right)
        )
        is_type = isinstance(node.op, ast.BitOr) and not self._depth
        if not is_text and not is_type:
            self._swap(node.left, node.right, node.op)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in pairwise(node.values):
            self._swap(left, right, node.op)
            self._replace(self._end(left), self._end(right), "")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(self._start(node), self._start(node.operand), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(self._start(node), self._end(node), str(not node.value))
        elif isinstance(node.value, int) and self._depth and node.value <= _TUNING:
            self._replace(self._start(node), self._end(node), str(node.value + 1))

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Name) and function.id in _SWAPPED_CALLS:
            after = _SWAPPED_CALLS[function.id]
            self._replace(self._start(function), self._end(function), after)
        if isinstance(function, ast.Attribute) and function.attr in _DROPPED_CALLS:
            self._replace(self._end(function.value), self._end(node), "", of_query=True)
            self._drop_arguments(node, function.attr)
        elif isinstance(function, ast.Name) and function.id in _CONDITIONS:
            self._drop_arguments(node, function.id)
        if not self._is_unseen(node):
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            test = ast.get_source_segment(self._source, node.test)
            self._replace(self._start(node.test), self._end(node.test), f"not ({test})")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call) and not self._is_unseen(value):
            self._drop(node)
        if not isinstance(value, ast.Constant):
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        is_kept = any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
        if is_kept and not self._is_constructor:  # whose absence any use would notice
            self._drop(node)
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._drop(node)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        if any(not isinstance(target, ast.Name) for target in node.targets):
            self._drop(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if node.exc is None:
            self._drop(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._drop(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._drop(node)

    def _drop(self, node: ast.stmt) -> None:
        if self._depth:
            self._replace(self._start(node), self._end(node), "pass")

    def _drop_arguments(self, node: ast.Call, name: str) -> None:
        if name in _CONDITIONS and len(node.args) > 1:
            first, second = node.args[:2]
            self._replace(self._start(first), self._start(second), "", of_query=True)
        for left, right in pairwise(node.args):
            self._replace(self._end(left), self._end(right), "", of_query=True)

    def _swap(self, left: ast.expr, right: ast.expr, operator: ast.AST) -> None:
        before, after = _SWAPPED.get(type(operator), ("", ""))
        between = self._source[self._end(left) : self._start(right)]
        word = rf"(?<!\w){re.escape(before)}(?!\w)" if before.isalpha() else re.escape(before)
        if before and (found := re.search(word, between)):
            start = self._end(left) + found.start()
            of_query = isinstance(operator, ast.BitAnd | ast.BitOr)
            self._replace(start, start + len(before), after, of_query=of_query)

    def _is_unseen(self, call: ast.Call) -> bool:
        root: ast.expr = call
        while isinstance(root, ast.Call | ast.Attribute):
            root = root.func if isinstance(root, ast.Call) else root.value
        return isinstance(root, ast.Name) and root.id in _UNSEEN

    def _replace(self, start: int, end: int, after: str, *, of_query: bool = False) -> None:
        before = self._source[start:end]
        if before.count("(") == before.count(")"):  # an operand's own parentheses are not in it
            self._found.append((start, end, after, self._first, of_query))

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        return self._lines[line - 1] + len(self._bytes[line - 1][:column].decode())
