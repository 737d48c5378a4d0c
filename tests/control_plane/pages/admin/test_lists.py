"""Lists of the back office: pages by key, addresses with their filters, and CSV."""

import csv

from gateway.control_plane.pages.admin.lists import as_csv, keyset


def test_a_page_names_the_next_one_by_its_last_line_and_keeps_the_filters():
    page = keyset("/admin/mail", {"state": "failed", "q": ""}, [9, 8, 7], str, limit=2)
    assert page.rows == [9, 8]
    assert page.first == ""
    assert page.older == "/admin/mail?state=failed&before=8"
    assert page.csv == "/admin/mail?state=failed&format=csv"


def test_the_last_page_leads_back_to_the_first_alone():
    page = keyset("/admin/mail", {"q": "a b"}, [7], str, before="8", limit=2)
    assert (page.first, page.older) == ("/admin/mail?q=a+b", "")


def test_a_list_of_nothing_has_no_csv():
    assert keyset("/admin/mail", {}, [], str).csv == ""


def test_a_spreadsheet_runs_nothing():
    answer = as_csv(
        "mail", ["name", "count"], [["=1+1", 2], ["-x", None], ["plain, with comma", -3]]
    )
    rows = list(csv.reader(answer.content.splitlines()))
    assert rows == [["name", "count"], ["'=1+1", "2"], ["'-x", ""], ["plain, with comma", "-3"]]
    assert answer.headers["content-disposition"] == 'attachment; filename="mail.csv"'
