"""Every page of the back office answers, and with few queries: the benchmark in its short form.

The long form is `python -m benchmarks.admin --organizations 1000000`. A page with a part in its
address that the benchmark has no example for fails here.
"""

import re

from testing.processes import said

_ROW = re.compile(r"^\| (/admin\S*) \| (\d+) \|", re.MULTILINE)


def test_no_page_sends_many_queries():
    out = said("benchmarks.admin", "--organizations", "200", "--requests", "1")
    queries = dict(_ROW.findall(out))
    assert {"/admin", "/admin/books", "/admin/workers", "/admin/traffic", "/admin/mail"} <= set(
        queries
    )
    assert "too many queries" not in out, out
