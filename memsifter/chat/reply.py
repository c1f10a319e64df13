"""What an endpoint's reply means: an answer, or a failure that says whether another try can help.

Nothing in a reply is trusted. Its size and nesting are bounded, its form is checked, and text that no file could hold
is replaced. The forms are those of OpenAI's API and of the servers that imitate it.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from memsifter.chat.prompt import Form, extract_answer
from memsifter.errors import MemSifterError

_REASON_CHARS = 300
_MAX_TOKEN_COUNT = 2**31 - 1  # what the answers' file can hold
_TRANSIENT = frozenset({408, 409, 425, 429})
_ENDPOINT_WIDE = frozenset({401, 402, 403, 404, 405, 407, 410, 501})
# Found in an error's code, type, parameter or message; a status alone does not tell an exhausted quota from a busy
# server, nor a filtered question from a wrong parameter.
_ACCOUNT = re.compile(
    r"insufficient_quota|insufficient[ _]balance|credit balance|billing_|account_deactivated|access_terminated|"
    r"invalid_api_key|model_not_found|unsupported[ _](parameter|value)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"content[ _]?filter|content management policy|content[ _]policy|responsible_?ai|moderation|flagged|"
    r"(context|input|prompt)[ _](length|window|is too long)|maximum context|invalid_prompt",
    re.IGNORECASE,
)

Kind = Literal["transient", "unreachable", "empty", "refused", "endpoint"]


class RequestError(Exception):
    """A request got no answer.

    Attributes:
        kind: "transient" and "unreachable" (no connection, or no reply in time) are worth another try, and so is,
            a few times, "empty" (a reply without an answer). "refused" (filter, refusal, length) is final for this
            request, "endpoint" (bad key, no quota, unknown model or parameter) for every request.
        retry_after_s: how long the endpoint asks to wait; None if it does not say.
    """

    def __init__(self, kind: Kind, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after_s = retry_after_s


class RefusedRequestError(MemSifterError):
    """The model will not answer this request, however often it is sent; it may answer others."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class Answer:
    """What the model wrote. It holds an answer: `memsifter.chat.prompt.extract_answer` finds one in the text.

    Attributes:
        text: the whole output.
        finish_reason: "stop", "length" or what else the endpoint reports.
        prompt_tokens: as the endpoint counts them; None if it does not say.
        completion_tokens: likewise.
        cached: True if it comes from the cache.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stands for the answer to a request that the model will not answer."""

    reason: str


def _replace_lone_surrogates(value: Any) -> Any:
    """Half of a surrogate pair, as a cut emoji leaves it in JSON, becomes U+FFFD; no file can hold it."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value


def _read_count(value: Any) -> int | None:
    """A number of tokens; None for what is none. It is a statistic, so that a strange one spoils no answer."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TOKEN_COUNT:
        return None
    return int(value) if value == int(value) else None


_Text = Annotated[str, BeforeValidator(_replace_lone_surrogates)]
_Count = Annotated[int | None, BeforeValidator(_read_count)]


class _Part(BaseModel):
    type: str = "text"
    text: _Text | None = None
    refusal: _Text | None = None


class _Message(BaseModel):
    content: _Text | list[_Part | _Text] | None = None
    refusal: _Text | None = None

    def read(self) -> tuple[str, str]:
        """The text and the refusal. Of a list of parts, the texts are joined and thoughts left out."""
        if not isinstance(self.content, list):
            return self.content or "", self.refusal or ""
        parts = [_Part(text=part) if isinstance(part, str) else part for part in self.content]
        text = "".join(part.text or "" for part in parts if part.type in ("text", "output_text"))
        return text, self.refusal or "".join(part.refusal or "" for part in parts)


class _Choice(BaseModel):
    finish_reason: _Text | None = None
    message: _Message = _Message()
    text: _Text | None = None
    error: Any = None


class _Usage(BaseModel):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None


class _Reply(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Annotated[_Usage, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = _Usage()


def read_reply(body: bytes, form: Form) -> Answer:
    """Read a reply with status 200.

    Args:
        body: as it was received, decompressed.
        form: of the request's prompt.

    Raises:
        RequestError: it holds no answer.
    """
    value = _read_json(body)
    if isinstance(value, dict) and value.get("error"):
        raise read_error(HTTPStatus.OK, value)
    try:
        reply = _Reply.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"])) or "reply"
        raise RequestError("transient", f"the reply is not in the API's form ({place}: {problem['msg']})") from None
    choice = reply.choices[0]
    if choice.error or choice.finish_reason == "error":
        raise read_error(HTTPStatus.OK, {"error": choice.error or "finish_reason is error"})
    text, refusal = choice.message.read() if form == "chat" else (choice.text or "", "")
    if choice.finish_reason == "content_filter" or refusal:
        raise RequestError("refused", f"finish_reason {choice.finish_reason}: {_shorten(refusal or 'no reason given')}")
    if not extract_answer(text, form):
        if choice.finish_reason == "length":
            raise RequestError("refused", "the model wrote max_tokens tokens before any answer; raise max_tokens")
        raise RequestError("empty", f"the reply holds no answer (finish_reason {choice.finish_reason})")
    return Answer(text, choice.finish_reason, reply.usage.prompt_tokens, reply.usage.completion_tokens)


def read_error(status: int, body: bytes | Any, retry_after_s: float | None = None) -> RequestError:
    """What an error means.

    Args:
        status: of the reply; of an error with status 200, its own code counts where it is one.
        body: the reply, as bytes or parsed.
        retry_after_s: how long the endpoint asks to wait.
    """
    code, message, labels = _describe_error(body)
    if status == HTTPStatus.OK:
        status = int(code) if re.fullmatch("[3-5][0-9][0-9]", code) else HTTPStatus.OK
    wait = f" (it asks to wait {retry_after_s:.0f} s)" if retry_after_s else ""
    return RequestError(_kind_of(status, labels), f"HTTP {status}: {_shorten(message)}{wait}", retry_after_s)


def _kind_of(status: int, labels: str) -> Kind:
    if _ACCOUNT.search(labels):
        return "endpoint"
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and _REFUSAL.search(labels):
        return "refused"
    if status in _ENDPOINT_WIDE or HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return "endpoint"
    if status == HTTPStatus.OK or status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "transient"
    return "refused"


def _describe_error(body: bytes | Any) -> tuple[str, str, str]:
    """An error's code, its message, and all that tells its kind. Servers write it in half a dozen forms."""
    value = body
    if isinstance(body, bytes):
        try:
            value = _read_json(body)
        except RequestError:
            value = body.decode("utf-8", "replace")
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict) and (inner := value.get("error")):
        value = inner
    if not isinstance(value, dict):
        return "", _shorten(str(value)), str(value)
    message = str(value.get("message") or value.get("detail") or value)
    metadata = value.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(raw := metadata.get("raw"), str):
        message = f"{message}: {raw}"  # what the provider behind a router said
    labels = " ".join(str(value.get(name, "")) for name in ("code", "type", "status", "param"))
    return str(value.get("code", "")), message, f"{labels} {message}"


def _shorten(text: str) -> str:
    """One line that fits an error."""
    return " ".join(_replace_lone_surrogates(text).split())[:_REASON_CHARS]


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        raise RequestError("transient", "the reply is nested too deeply") from None
    except ValueError as error:
        raise RequestError("transient", f"the reply is not valid JSON ({error})") from None
