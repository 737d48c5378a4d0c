"""Calls of a model in every language that a reader can choose: all of them parse."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.control_plane.web import snippets
from gateway.control_plane.web.client_snippets import clients
from gateway.control_plane.web.snippets import Snippet

_URL = "http://gateway"
_ALL = [
    *snippets.calls(_URL, "m", prompt="p"),
    *snippets.calls(_URL, "m", key="sk-1"),
    *(client.snippet for client in clients(_URL, "m")),
]


def of(lexer: str) -> list[Snippet]:
    found = [snippet for snippet in _ALL if snippet.lexer == lexer]
    assert found
    return found


def test_calls_are_in_all_languages_and_hold_or_read_the_key():
    for key in (None, "sk-1"):
        calls = snippets.calls(_URL, "vendor/m", key=key, prompt="p")
        assert tuple(call.slug for call in calls) == snippets.LANGUAGES
        for call in calls:
            assert (key or snippets.VARIABLE) in call.code
            assert snippets.VARIABLE not in call.code or not key
            assert "vendor/m" in call.code
            assert re.search(r'prompt_name"?: "p"|vendor/m:p"', call.code)


@pytest.mark.parametrize("snippet", of("python"), ids=lambda one: one.name)
def test_python_is_python(snippet: Snippet):
    ast.parse(snippet.code)


@pytest.mark.parametrize("snippet", of("javascript"), ids=lambda one: one.name)
def test_javascript_is_javascript(snippet: Snippet, tmp_path: Path):
    node = shutil.which("node")
    if not node:
        pytest.skip("there is no node")
    (tmp_path / "a.mjs").write_text(snippet.code)
    done = subprocess.run(
        [node, "--check", tmp_path / "a.mjs"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", of("go"), ids=lambda one: one.name)
def test_go_is_go_as_gofmt_writes_it(snippet: Snippet):
    gofmt = shutil.which("gofmt")
    if not gofmt:
        pytest.skip("there is no gofmt")
    done = subprocess.run(
        [gofmt, "-d"], input=f"{snippet.code}\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.long
@pytest.mark.skipif(
    not os.environ.get("GATEWAY_TEST_GO"),
    reason="GATEWAY_TEST_GO=1 compiles it with go, which downloads OpenAI's module",
)
def test_go_compiles_with_openais_module(tmp_path: Path):
    go = shutil.which("go")
    assert go, "GATEWAY_TEST_GO needs go on PATH"
    for number, snippet in enumerate(of("go")):
        (folder := tmp_path / f"{number}").mkdir()
        (folder / "main.go").write_text(snippet.code)
        for command in ("mod init example", "mod tidy", "vet ."):
            done = subprocess.run(
                [go, *command.split()], cwd=folder, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", of("bash"), ids=lambda one: one.name)
def test_a_command_is_a_command(snippet: Snippet):
    done = subprocess.run(["bash", "-n"], input=snippet.code, text=True, check=False)
    assert done.returncode == 0


def test_only_a_known_language_is_a_choice():
    assert snippets.chosen_language({"code_language": "go"}) == "go"
    assert snippets.chosen_language({"code_language": '"><script>'}) == ""
    assert snippets.chosen_language({}) == ""
