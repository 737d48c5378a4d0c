"""Bad input: a 4xx that names the field and says what to do, nothing charged, nothing logged."""

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.gateways import MODEL, STELLA, Api, open_api

NAME = MODEL.encode()


def body(input_: bytes = b'"x"', rest: bytes = b"") -> bytes:
    return b'{"model":"%b","input":%b%b}' % (NAME, input_, rest)


BAD = {
    # what is no JSON object at all
    "empty": (b"", None, "not valid JSON"),
    "not json": (b"hello", None, "not valid JSON"),
    "trailing": (body() + b"x", None, "not valid JSON"),
    "array": (b"[]", None, "must be a JSON object"),
    "null": (b"null", None, "must be a JSON object"),
    "nan": (body(rest=b',"dimensions":NaN'), None, "not valid JSON"),
    "infinity": (body(rest=b',"x":Infinity'), None, "not valid JSON"),
    "invalid utf-8": (body(b'"\xff"'), None, "not valid UTF-8"),
    "invalid utf-8 in a field we ignore": (body(rest=b',"x":"\xff"'), None, "not valid UTF-8"),
    "deep": (body(rest=b',"x":' + b"[" * 30_000 + b"]" * 30_000), None, "nested too deeply"),
    "control character": (body(b'"a\x00b"'), None, "not valid JSON"),
    # what appears twice
    "model twice": (body(rest=b',"model":"other"'), "model", "appears twice"),
    "input twice": (body(rest=b',"input":"y"'), "input", "appears twice"),
    "escaped twice": (body(rest=b',"inp\\u0075t":"y"'), "input", "appears twice"),
    "nested twice": (
        body(rest=b',"x":%b,"metadata":{"model":"a","model":"b"}' % (b"1" * 5000)),
        "model",
        "appears twice",
    ),
    "twice, far apart": (body(b'"%b"' % (b"a" * 99_999), b',"input":"y"'), "input", "twice"),
    "twice, behind quotes": (
        body(b'"%b"' % (b'\\"input\\":' * 20_000), b',"user":"a","user":"b"'),
        "user",
        "appears twice",
    ),
    # more than any request may hold, however it ends
    "empty lists": (body(b"[" + b"[]," * 50_000 + b"[]]"), "input", "too many parts"),
    "empty lists, then input twice": (
        body(b"[" + b"[]," * 50_000 + b"[]]", b',"input":"y"'),
        "input",
        "too many parts",
    ),
    "empty lists elsewhere": (body(rest=b',"x":[%b[]]' % (b"[]," * 50_000)), "input", "many parts"),
    "empty texts": (body(b"[" + b'"",' * 50_000 + b'""]'), "input", "too many parts"),
    "objects, then nothing": (body(rest=b',"x":' + b"{" * 70_000), "input", "too many parts"),
    "ids without end": (body(b"[" + b"1," * 400_000 + b"1]"), "input", "too many parts"),
    # fields of another type
    "no model": (b'{"input":"x"}', "model", "model is missing"),
    "no input": (b'{"model":"%b"}' % NAME, "input", "input is missing"),
    "truncate in capitals": (body(rest=b',"truncate":"END"'), "truncate", "value 'END'"),
    "format in capitals": (body(rest=b',"encoding_format":"HEX"'), "encoding_format", "'HEX'"),
    "model number": (b'{"model":5,"input":"x"}', "model", "model's id as a string"),
    "model null": (b'{"model":null,"input":"x"}', "model", "model's id as a string"),
    "input null": (body(b"null"), "input", "a list of strings"),
    "input number": (body(b"5"), "input", "a list of strings"),
    "input object": (body(b"{}"), "input", "a list of strings"),
    "input of floats": (body(b"[1.5]"), "input", "a list of strings"),
    "input of null": (body(b'["a",null]'), "input", "a list of strings"),
    "input of booleans": (body(b"[true]"), "input", "a list of strings"),
    "input too deep": (body(b"[[[1]]]"), "input", "a list of strings"),
    "format": (body(rest=b',"encoding_format":"int8"'), "encoding_format", '"float" or "base64"'),
    "format number": (body(rest=b',"encoding_format":1'), "encoding_format", '"float"'),
    "dimensions text": (body(rest=b',"dimensions":"384"'), "dimensions", "integer"),
    "dimensions float": (body(rest=b',"dimensions":384.5'), "dimensions", "integer"),
    "dimensions true": (body(rest=b',"dimensions":true'), "dimensions", "integer"),
    "user number": (body(rest=b',"user":1'), "user", "a string"),
    "truncate": (body(rest=b',"truncate":"middle"'), "truncate", '"end" or "start"'),
    "input_type": (body(rest=b',"input_type":"image"'), "input_type", '"query" or "document"'),
    "token_ids_from": (body(rest=b',"token_ids_from":"gpt2"'), "token_ids_from", '"model"'),
    # values that can't be
    "empty string": (body(b'""'), "input", "empty string"),
    "empty string in a list": (body(b'["a",""]'), "input", "input[1] is an empty string"),
    "empty list": (body(b"[]"), "input", "input is empty"),
    "list of an empty list": (body(b"[[]]"), "input", "token ids"),
    "mixed": (body(b'["a",[1]]'), "input", "mixes texts and token ids"),
    "mixed flat": (body(b'[1,"a"]'), "input", "mixes texts and token ids"),
    "mixed lists": (body(b'[[1],"a"]'), "input", "mixes texts and token ids"),
    "ids of whom": (body(b"[15339,1917]"), "input", "check_embedding_ctx_length=False"),
    "lists of ids of whom": (body(b"[[15339]]"), "input", "check_embedding_ctx_length=False"),
    "id too large": (body(b"[30522]", b',"token_ids_from":"model"'), "input", "0 to 30521"),
    "id negative": (body(b"[-1]", b',"token_ids_from":"model"'), "input", "0 to 30521"),
    "id enormous": (body(b"[%d]" % 2**70, b',"token_ids_from":"model"'), "input", "0 to 30521"),
    "no ids": (body(b"[[]]", b',"token_ids_from":"model"'), "input", "empty list of token ids"),
    "lone high surrogate": (body(b'"\\ud800"'), "input", "lone surrogate"),
    "lone surrogate in a list": (body(b'["a","b \\uD9ff c"]'), "input", "lone surrogate"),
    "lone surrogate in the user": (body(rest=b',"user":"\\udfff"'), "user", "lone surrogate"),
    "lone surrogate, far away": (body(b'"%b\\ud800"' % (b"a" * 99_999)), "input", "surrogate"),
    "lone low surrogate": (body(b'"\\udc00 x"'), "input", "lone surrogate"),
    "dimensions zero": (body(rest=b',"dimensions":0'), "dimensions", "serves 384"),
    "dimensions negative": (body(rest=b',"dimensions":-384'), "dimensions", "serves 384"),
    "dimensions enormous": (body(rest=b',"dimensions":%d' % 2**70), "dimensions", "serves 384"),
    "dimensions of another": (body(rest=b',"dimensions":1024'), "dimensions", "serves 384"),
    "unknown prompt": (body(rest=b',"prompt_name":"s2p_query"'), "prompt_name", "it has: none"),
    "2049 inputs": (body(b"[" + b'"a",' * 2048 + b'"a"]'), "input", "at most 2048"),
    "too long": (body(b'"%b"' % (b"a " * 300)), "input", "has 302 tokens"),
    "too many characters": (body(b'"%b"' % (b"a" * 1_000_001)), "input", "1000001 characters"),
    "too many tokens": (body(b"[" + b'"%b",' % (b"a " * 250) * 1200 + b'"a"]'), "input", "300000"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_bad_input(api: Api, case: str, capfd: pytest.CaptureFixture[str]):
    sent, param, message = BAD[case]
    answer = await api.embed(sent)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert message in error["message"]
    assert len(error["message"]) < 500
    assert answer.headers["x-request-id"]
    await api.assert_untouched()
    assert "request failed" not in capfd.readouterr().err


async def test_too_long_says_which_how_long_and_what_to_do(api: Api):
    answer = await api.embed(input=["short", "word " * 400])
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"] == (
        "input[1] has 402 tokens; this model reads at most 256. Split it, or send "
        '"truncate": "end" (or "start") to have it cut and billed as cut.'
    )


async def test_the_answers_size_is_bounded(sqlite_database_url, fake_worker):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, answer_floats_max=384 * 10) as api:
        assert (await api.embed(input=["a"] * 10)).status_code == 200
        answer = await api.embed(input=["a"] * 11)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "dimensions"
        assert "4224 numbers" in answer.json()["error"]["message"]


async def test_a_bound_is_the_most_that_fits(sqlite_database_url, fake_worker):
    bounds = {"inputs_max": 4, "input_characters_max": 8, "request_characters_max": 20,
              "request_tokens_max": 14}  # fmt: skip
    at_most = {
        "inputs": (["a"] * 4, ["a"] * 5, "at most 4"),
        "characters of one": (["remember"], ["remembers"], "at most 8"),
        "characters of all": (["remember"] * 2 + ["word"], ["remember"] * 2 + ["words"], "20"),
        "tokens": (["a a", "a a", "a a a a"], ["a a", "a a a", "a a a a"], "more than 14 tokens"),
    }
    async with open_api(sqlite_database_url[0], f"{MODEL}={fake_worker.url}", **bounds) as api:
        for fits, does_not, said in at_most.values():
            assert (await api.embed(input=fits)).status_code == 200
            answer = await api.embed(input=does_not)
            assert answer.status_code == 400
            assert said in answer.json()["error"]["message"]


async def test_prompts_that_contradict(api: Api):
    for fields, param in [
        ({"prompt_name": "s2p_query", "input_type": "document"}, "input_type"),
        ({"prompt_name": "s2s_query", "input_type": "query"}, "prompt_name"),
        ({"prompt_name": "nope"}, "prompt_name"),
    ]:
        answer = await api.http.post(
            "/v1/embeddings/estimate",
            json={"model": STELLA, "input": "x", **fields},
            headers=api.headers,
        )
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["encoding_format", "dimensions", "user", "truncate", "prompt_name", "input_type",
         "token_ids_from", "service_tier"],
        json_values,
    ),
)  # fmt: skip
noises = st.binary(max_size=64) | st.text(string.printable, max_size=64).map(str.encode)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@shared
@given(input_=json_values, rest=fields)
async def test_no_json_is_a_server_error(api: Api, input_, rest):
    answer = await api.embed({"model": MODEL, "input": input_, **rest})
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@shared
@given(noises)
async def test_no_bytes_are_a_server_error(api: Api, noise: bytes):
    for sent in (noise, body(noise), body(rest=b',"x":' + noise)):
        assert (await api.embed(sent)).status_code in (200, 400)
