"""From the bytes of a body to a valid request, or an error that says what to do.

Null means absent and unknown fields are accepted, as at OpenAI. Anything ambiguous (a key that
appears twice) or meaningless (another model's token ids) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.data_plane.api import structure
from gateway.data_plane.api.structure import Shape
from gateway.data_plane.metering.rows import Inputs, InvalidUnicode
from gateway.errors import BadRequest
from gateway.snapshots import KeySnapshot, ModelSnapshot, TokenIdsFrom, Truncate

EncodingFormat = Literal["float", "base64"]


class EmbeddingsRequest(msgspec.Struct, kw_only=True, frozen=True):
    """The body of POST /v1/embeddings: OpenAI's fields, then ours."""

    model: Annotated[
        str,
        Meta(description="The model's id. A prompt may follow it, as in `MODEL:s2p_query`."),
    ]
    input: Annotated[
        str | list[str | int | list[int]],
        Meta(
            description="A text, or up to 2,048 of them. Arrays of token ids are accepted only as "
            "`token_ids_from` says."
        ),
    ]
    encoding_format: Annotated[
        EncodingFormat | None,
        Meta(description="`float` (the default), or `base64` of little-endian float32."),
    ] = None
    dimensions: Annotated[
        int | None,
        Meta(description="A number of dimensions that the model offers; otherwise its default."),
    ] = None
    user: Annotated[
        str | None, Meta(description="Accepted for compatibility with OpenAI, and not used.")
    ] = None
    truncate: Annotated[
        Truncate | None,
        Meta(
            description="Cut an input that is too long at its end or start, and bill what is "
            "left; `truncated` in the response lists what was cut. Without this, and without "
            "such a default on the key, the request is refused."
        ),
    ] = None
    prompt_name: Annotated[
        str | None,
        Meta(description="One of the model's prompts, put in front of every input and billed."),
    ] = None
    input_type: Annotated[
        Literal["query", "document"] | None,
        Meta(
            description="`query` for the model's query prompt, `document` for its document prompt, "
            "or none where it has none."
        ),
    ] = None
    token_ids_from: Annotated[
        TokenIdsFrom | None,
        Meta(description="`model`: arrays of integers are ids of the model's own vocabulary."),
    ] = None
    service_tier: Annotated[
        Literal["auto", "default", "flex"] | None,
        Meta(
            description="`flex`: a lower price, served after other work when capacity is short. "
            "`auto` and `default` are the regular price."
        ),
    ] = None


class InvalidJson(BadRequest):
    """The body is not JSON, not UTF-8, or not an object."""

    code = "invalid_json"
    remedy = "Let a JSON library write it."


class UnknownTokenIds(BadRequest):
    """The input is token ids, and nothing says which tokenizer made them.

    Ids of another tokenizer would give meaningless vectors.
    """

    code = "unknown_token_ids"
    remedy = (
        "Send text; in LangChain set `check_embedding_ctx_length=False`. If they are the model's "
        "own ids, send `token_ids_from` with `model`."
    )


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one request; see `gateway.settings`."""

    body_bytes_max: int
    inputs_max: int
    input_characters_max: int
    request_characters_max: int
    request_tokens_max: int
    answer_floats_max: int
    idempotency_key_characters_max: int


_decoder = msgspec.json.Decoder(EmbeddingsRequest)
_KEYS = tuple(f'"{name}"'.encode() for name in EmbeddingsRequest.__struct_fields__)
_KEY = re.compile(rf'"(?:{"|".join(EmbeddingsRequest.__struct_fields__)})"'.encode())
"""Any of them; it begins with a character, which the search skips to."""
_EXPECTED = {
    "model": "a model's id as a string, see GET /v1/models",
    "input": "a string, a list of strings, a list of token ids or a list of lists of token ids",
    "encoding_format": '"float" or "base64"',
    "dimensions": "one of the model's dimensions as an integer",
    "user": "a string",
    "truncate": '"end" or "start"',
    "prompt_name": "the name of one of the model's prompts as a string",
    "input_type": '"query" or "document"',
    "token_ids_from": '"model"',
    "service_tier": '"auto", "default" or "flex"',
}


def decode(body: bytes | bytearray, limits: RequestLimits) -> EmbeddingsRequest:
    """Read a body. Raises BadRequest, with `param` if one field is to blame."""
    shape = Shape(limits.inputs_max, limits.request_tokens_max)
    try:
        structure.bound(body, shape)
        if not body.isascii():
            body.decode()
        request = _decoder.decode(body)
        # a name in quotes that is no key is rare, so this nearly always ends here
        if _may_repeat_a_key(body):
            structure.walk(body, shape, _EXPECTED)
    except structure.Excessive:
        raise BadRequest(
            f"The body has too many parts; at most {limits.inputs_max} inputs and "
            f"{limits.request_tokens_max} token ids fit in one request. Send fewer at once.",
            param="input",
        ) from None
    except structure.Twice as twice:
        (name,) = twice.args
        raise BadRequest(f"{name} appears twice in the body; send it once.", param=name) from None
    except UnicodeDecodeError:
        raise InvalidJson("The body is not valid UTF-8.") from None
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error)) from None
    except msgspec.DecodeError as error:
        raise _malformed(body, shape, error) from None
    except RecursionError:
        raise InvalidJson("The body is nested too deeply.") from None
    return request


def inputs_of(
    request: EmbeddingsRequest, key: KeySnapshot, model: ModelSnapshot, limits: RequestLimits
) -> Inputs:
    """Return the texts, or the token ids that are known to be the model's own.

    Raises BadRequest for input that is empty, mixed, too large, or of an unknown vocabulary.
    """
    given: Sequence[Any] = [request.input] if isinstance(request.input, str) else request.input
    if not given:
        raise BadRequest("input is empty; send at least one text.", param="input")
    kinds = set(map(type, given))
    if kinds == {int}:
        given, kinds = [given], {list}  # one array of ids
    if len(given) > limits.inputs_max:
        raise BadRequest(
            f"input has {len(given)} items; at most {limits.inputs_max} fit in one request. "
            "Send the rest in another.",
            param="input",
        )
    if kinds == {str}:
        return _checked_texts(given, limits)
    if kinds != {list}:
        raise BadRequest(
            "input mixes texts and token ids; send texts only, or ids only.", param="input"
        )
    total = sum(map(len, given))
    if total > limits.request_tokens_max:
        raise BadRequest(
            f"input has {total} ids in all; at most {limits.request_tokens_max} fit in one "
            "request. Send fewer at once.",
            param="input",
        )
    return _checked_ids(given, request, key, model)


def dimensions_of(request: EmbeddingsRequest, model: ModelSnapshot) -> int:
    """Return the requested number of dimensions, or the default. Raises BadRequest."""
    wanted = request.dimensions
    if wanted is None:
        return model.dimensions_default
    if wanted not in model.dimensions:
        served = ", ".join(map(str, model.dimensions))
        raise BadRequest(f"dimensions is {wanted}; {model.id} serves {served}.", param="dimensions")
    return wanted


def prompt_of(request: EmbeddingsRequest, model: ModelSnapshot, suffix: str | None) -> str | None:
    """Return the name of the prompt before every input: from the fields, or the model's suffix.

    Raises BadRequest for an unknown prompt, or two different ones.
    """
    if request.prompt_name is None and request.input_type is None and suffix is None:
        return None
    aliases = {"query": model.query_prompt, "document": model.document_prompt}
    alias = aliases.get(request.input_type or "")
    names = {name for name in (request.prompt_name, alias, suffix) if name}
    if request.input_type == "document" and alias is None and names:
        raise BadRequest(
            "input_type document takes no other prompt; leave out prompt_name and the prompt in "
            "the model's name.",
            param="input_type",
        )
    if len(names) > 1:
        raise BadRequest(
            f"Two prompts are requested: {' and '.join(sorted(names))}. Send one.",
            param="prompt_name",
        )
    name = next(iter(names), None)
    if name is not None and name not in model.prompts:
        known = ", ".join(sorted(model.prompts)) or "none"
        raise BadRequest(
            f"{model.id} has no prompt of that name; it has: {known}.", param="prompt_name"
        )
    return name


def _checked_texts(texts: Sequence[str], limits: RequestLimits) -> Sequence[str]:
    lengths = list(map(len, texts))
    if 0 in lengths:
        raise BadRequest(
            f"input[{lengths.index(0)}] is an empty string; leave it out or send some text.",
            param="input",
        )
    longest = max(lengths)
    if longest > limits.input_characters_max:
        raise BadRequest(
            f"input[{lengths.index(longest)}] has {longest} characters; at most "
            f"{limits.input_characters_max} fit in one input. Split it.",
            param="input",
        )
    total = sum(lengths)
    if total > limits.request_characters_max:
        raise BadRequest(
            f"The inputs have {total} characters in all; at most {limits.request_characters_max} "
            "fit in one request. Send fewer at once.",
            param="input",
        )
    return texts


def _checked_ids(
    inputs: Sequence[list[int]],
    request: EmbeddingsRequest,
    key: KeySnapshot,
    model: ModelSnapshot,
) -> Sequence[list[int]]:
    if (request.token_ids_from or key.token_ids_from) != "model":
        raise UnknownTokenIds(
            "input holds token ids, and nothing says which tokenizer made them. Ids from another "
            "tokenizer (such as OpenAI's) would give meaningless vectors. With LangChain, set "
            "OpenAIEmbeddings(check_embedding_ctx_length=False) so that it sends text. If the ids "
            f'are from {model.id}\'s own vocabulary, send "token_ids_from": "model".',
            param="input",
        )
    for index, ids in enumerate(inputs):
        if not ids:
            raise BadRequest(f"input[{index}] is an empty list of token ids.", param="input")
    return inputs


def check_floats(floats: int, limits: RequestLimits) -> None:
    """Refuse a request whose response would be too large. Raises BadRequest."""
    if floats > limits.answer_floats_max:
        raise BadRequest(
            f"The response would hold {floats} numbers (inputs times dimensions); at most "
            f"{limits.answer_floats_max} fit. Send fewer inputs at once, or ask for fewer "
            "dimensions.",
            param="dimensions",
        )


def _wrong_field(message: str) -> BadRequest:
    reason, _, path = message.partition(" - at ")
    missing = re.search(r"required field `(\w+)`", reason)
    name = missing[1] if missing else re.split(r"[.\[`]", path.removeprefix("`$."))[0]
    if name not in _EXPECTED:
        return InvalidJson("The body must be a JSON object.")
    wrong = reason[:1].lower() + reason[1:].replace("`", "")  # what was sent stays as it was
    problem = "is missing" if missing else f"is wrong ({wrong})"
    return BadRequest(f"{name} {problem}; send {_EXPECTED[name]}.", param=name)


def _malformed(body: bytes | bytearray, shape: Shape, error: msgspec.DecodeError) -> BadRequest:
    """Tell a lone surrogate, which JSON allows and Unicode text does not, from invalid JSON."""
    if any(word in str(error) for word in ("surrogate", "truncated")):
        try:
            structure.walk(body, shape, ())
        except structure.HalfCharacter as half:
            (name,) = half.args
            if name in _EXPECTED:
                return InvalidUnicode(
                    f"{name} has a lone surrogate (half of a \\u pair), which is no text; send "
                    "well-formed Unicode.",
                    param=name,
                )
        except structure.Excessive:
            pass
    return InvalidJson(f"The body is not valid JSON: {error}.")


def _may_repeat_a_key(body: bytes | bytearray) -> bool:
    """Tell whether one of our names appears twice, or a key might be spelled with escapes."""
    if len(body) > structure.UNCOUNTED_BYTES_MAX:  # in calls that are short, whatever is in it
        return b"\\u00" in body or any(body.count(key) > 1 for key in _KEYS)
    if b"\\" in body and b"\\u00" in body:
        return True
    found: list[bytes] = _KEY.findall(body)
    return len(found) != len(set(found))
