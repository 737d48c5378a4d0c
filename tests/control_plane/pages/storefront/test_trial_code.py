"""The code that the playground writes, run: it does what the page did, whatever was typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.app.process import Process
from gateway.control_plane.pages.storefront import trial_code
from gateway.control_plane.pages.storefront.trials import Candidate, Trial
from tests.control_plane.conftest import MINILM
from tests.test_readme import needs

INPUTS = ['it\'s "quoted" \\ $HOME `id` {x} %s ☃', "two", 'it\'s "quoted" \\ $HOME `id` {x} %s ☃']
MATRIX = [["1.00", "#", "1.00"], ["#", "1.00", "#"], ["1.00", "#", "1.00"]]
SDK = """
class OpenAI {
  constructor({ baseURL, apiKey }) {
    const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
    this.embeddings = {
      create: async (body) => {
        const request = { method: "POST", headers, body: JSON.stringify(body) };
        return (await fetch(`${baseURL}/embeddings`, request)).json();
      },
    };
  }
}
"""


@pytest.fixture
def trial(gateway: Process) -> Trial:
    listing = gateway.services.shelves().find(MINILM)
    return Trial(candidate=Candidate(listing, 384), tokens=0, cut=1, cost_nanos=0, milliseconds=0)


def printed(served: tuple[str, str], *command: str) -> str:
    environment = {**os.environ, "OPENAI_API_KEY": served[1]}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_javascript(served: tuple[str, str], code: str, folder: Path) -> str:
    needs("node")
    imported, _, rest = code.partition("\n")
    assert imported == 'import OpenAI from "openai";'
    script = folder / "trial.mjs"
    script.write_text(SDK + rest)
    return printed(served, "node", str(script))


async def test_similarity(trial: Trial, served: tuple[str, str], tmp_path: Path):
    curl, python, javascript = trial_code.similarity(served[0], trial, INPUTS, None)
    needs("curl")
    answer = json.loads(printed(served, "bash", "-c", curl.code))
    assert len(answer["data"]) == 3
    for said in (
        printed(served, sys.executable, "-c", python.code),
        in_javascript(served, javascript.code, tmp_path),
    ):
        found = [line.split() for line in said.splitlines()]
        assert [[c if c == "1.00" else "#" for c in row] for row in found] == MATRIX


@pytest.mark.parametrize("prompted", [True, False])
async def test_search(trial: Trial, served: tuple[str, str], tmp_path: Path, *, prompted: bool):
    passages = ["one", INPUTS[0], "three"]
    curl, python, javascript = trial_code.search(
        served[0], trial, INPUTS[0], passages, prompted=prompted
    )
    needs("curl")
    assert printed(served, "bash", "-c", curl.code).count('"object":"list"') == 2
    assert ("input_type" in curl.code) is prompted
    for said in (
        printed(served, sys.executable, "-c", python.code),
        in_javascript(served, javascript.code, tmp_path),
    ):
        first, *_ = lines = said.splitlines()
        assert first.split(maxsplit=1) == ["1.00", INPUTS[0]]
        assert len(lines) == 3


def test_fields_beyond_the_default_are_written(trial: Trial):
    candidate = Candidate(trial.candidate.listing, 256)
    other = Trial(candidate=candidate, tokens=0, cut=0, cost_nanos=0, milliseconds=0)
    curl, python, javascript = trial_code.similarity("http://g", other, ["a", "b"], "s2s_query")
    assert '"dimensions": 256' in curl.code
    assert "    dimensions=256,\n" in python.code
    assert 'extra_body={"prompt_name": "s2s_query"},' in python.code
    assert '"prompt_name": "s2s_query"' in javascript.code
    for one in (curl, python, javascript):
        assert "truncate" not in one.code
