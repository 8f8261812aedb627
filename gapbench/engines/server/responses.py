"""Read a server's response as an answer or a fault, so that no fault is ever scored as an answer.

    read(status, headers, body, key.redact)     # Answer(text="Paris", ...) or Fault("HTTP 500", ...)

A fault carries its remedy (`Remedy`). A blank text is an answer if the finish reason says that the model stopped and it
has not only reasoned. A response without content, a refusal, a filtered answer and an answer of tool calls are faults.
Reasoning that the server holds apart becomes the answer's `thought`.

Finish reasons are read by the words in them: there are dozens, in any case, and gateways pass them on. One without a
known word neither makes a blank text an answer nor discards another.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from gapbench.engines.context import TooLong, read_refusal
from gapbench.types import Answer

BROKEN = re.compile(r"abort|error|cancel|interrupt|insufficient")
FORBIDDEN = re.compile(
    r"filter|safety|block|prohibit|refus|recit|spii|sensitive|guardrail|denied|malform|tool|function"
)
CUT_OFF = re.compile(r"length|max|limit|window|trunc|repet|incomplete")
STOPPED = re.compile(r"stop|\beos|\beot|\bend|complete|done")
"""Words of finish reasons, tried in this order: the server failed, there is no answer, it is cut off, it is whole."""
REASONING = re.compile(r"think|thought|reason", re.IGNORECASE)
"""In the names of fields and parts that hold reasoning. Servers may send several that hold the same."""
LONGEST = 300
"""Most characters kept of a server's message."""
LONGEST_REST = 600.0
"""Longest wait in seconds that a server may ask for. More counts as a refusal."""


class Remedy(Enum):
    """What to do about a fault."""

    GIVE_UP = "the request is at fault, and a retry would fail again"
    RETRY = "the server is broken or busy, and may answer a retry"
    ELSEWHERE = "the server was not reached, so the request was not tried"
    REFUSED = "the server refuses every request"


@dataclass(frozen=True)
class Fault:
    """`kind` is counted in `faults` ("HTTP 429", "timeout"). `message` is for users. `wait` is the pause, in seconds,
    that the server asked for. `busy`: fewer requests in flight may help at once. `too_long`: the prompt does not fit.
    """

    kind: str
    message: str
    remedy: Remedy
    wait: float = 0.0
    busy: bool = False
    too_long: TooLong | None = None


def read(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    redact: Callable[[str], str] = str,
    note: Callable[[str], object] = str,
) -> Answer | Fault:
    """One response as an answer or a fault. `redact` is applied to every text before it is cut or kept.

    `note` is called with the finish reason of an answer if it has no known word.
    """
    if status != 200:
        return _error_fault(status, headers, body, redact)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        kind = _line(headers.get("content-type") or "no content type", redact)
        reason = f"{kind}, {len(body):,} bytes that are not JSON: {explain(body, redact)}"
        return Fault("not JSON", reason, Remedy.RETRY)
    if isinstance(value, dict) and value.get("error"):  # some gateways pass on errors with status 200
        return _passed_on(value["error"], headers, redact)
    try:
        choice, message = value["choices"][0], value["choices"][0]["message"]
        finish = _line(_finish_reason(choice), redact)
        text, thought = _content(message)
    except (LookupError, TypeError, AttributeError, RecursionError):
        return Fault("no choices", f"JSON without choices[0].message: {explain(body, redact)}", Remedy.RETRY)
    words = re.sub(r"[\W_]+", " ", finish.lower())
    if choice.get("error") and not STOPPED.search(words):  # what was written until the error is no answer
        return _passed_on(choice["error"], headers, redact)
    if reason := _why_no_answer(finish, words, text, thought, message):
        remedy = Remedy.RETRY if not finish or BROKEN.search(words) else Remedy.GIVE_UP
        return Fault("no content", redact(reason)[:LONGEST], remedy)
    cut_off = CUT_OFF.search(words) is not None
    if finish and not cut_off and not STOPPED.search(words):
        note(finish)
    name = redact(str(value.get("model") or ""))[:LONGEST]
    answer = _answer(redact(text or ""), redact(thought), cut_off, value.get("usage"), name)
    return replace(answer, confidence=_confidence(choice.get("logprobs")))


def explain(body: bytes, redact: Callable[[str], str] = str) -> str:
    """The message of an error's JSON, or the beginning of any other body; printable, at most `LONGEST` characters."""
    return _line(_error_of(body)[0], redact) or "(nothing)"


def _line(text: str, redact: Callable[[str], str]) -> str:
    """A server's text on one line, printable and cut."""
    text = " ".join("".join(c if c.isprintable() else " " for c in redact(text)).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _error_of(body: bytes) -> tuple[str, dict[str, Any]]:
    """The message and the fields of an error's JSON; of any other body its beginning, and no fields."""
    with suppress(ValueError, RecursionError):
        value = json.loads(body)
        value = as_dict(value[0] if isinstance(value, list) and value else value)  # Gemini's errors are in a list
        if message := next(filter(None, map(value.get, ("error", "message", "detail"))), None):
            fields = as_dict(message)
            message = fields.get("message") or message
            return message if isinstance(message, str) else json.dumps(message), fields
    return body[:100_000].decode("utf-8", "replace"), {}


def _passed_on(error: Any, headers: Mapping[str, str], redact: Callable[[str], str]) -> Fault:
    """The fault of an error in a body of status 200."""
    code = str(as_dict(error).get("code"))
    status = int(code) if re.fullmatch("[45]\\d\\d", code) else 500
    return _error_fault(status, headers, json.dumps({"error": error}).encode(), redact)


def _error_fault(status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]) -> Fault:
    kind = f"HTTP {status}"
    message = f"{kind}: {explain(body, redact)}"
    text, fields = _error_of(body)
    named = " ".join(str(fields.get(name, "")) for name in ("type", "code"))
    if status not in (408, 429) and (refusal := read_refusal(f"{text[:5000]} {named}", fields)):
        return Fault("prompt too long", f"{refusal.reason} ({message})", Remedy.GIVE_UP, too_long=refusal)
    if status in (408, 429) or status >= 500:
        wait = _retry_after(headers)
        if wait > LONGEST_REST:
            return Fault(kind, f"{message} (it asks us to wait {wait:,.0f} s)", Remedy.REFUSED)
        remedy = Remedy.REFUSED if status == 429 and b"insufficient_quota" in body else Remedy.RETRY
        return Fault(kind, message, remedy, wait, busy=status in (408, 429, 503, 529))
    if location := headers.get("location"):
        message += f" (to {redact(location)[:LONGEST]})"
    refused = status < 400 or status in (401, 402, 404, 405)
    return Fault(kind, message, Remedy.REFUSED if refused else Remedy.GIVE_UP)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds to wait, from a number or a date in `Retry-After` (RFC 9110, section 10.2.3); 0 without the header."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _finish_reason(choice: Mapping[str, Any]) -> str:
    """The finish reason, with the model's own where a gateway has turned it into another: it turns many into stop."""
    beside = as_dict(choice.get("provider_specific_fields"))  # LiteLLM's; OpenRouter has it in the choice
    named = (choice.get("finish_reason"), choice.get("native_finish_reason") or beside.get("native_finish_reason"))
    return " ".join(dict.fromkeys(str(name) for name in named if name))


def _content(message: Mapping[str, Any]) -> tuple[str | None, str]:
    """A message's text and its reasoning. Without any text, not even an empty one, the text is None."""
    content, beside = message.get("content"), as_dict(message.get("provider_specific_fields"))  # LiteLLM's
    thoughts = (_plain(fields[name]) for fields in (message, beside) for name in fields if REASONING.search(name))
    thought = next(filter(str.strip, thoughts), "")
    if not isinstance(content, list):
        return (content if isinstance(content, str) else None), thought
    parts = [part if isinstance(part, dict) else {"text": part} for part in content]
    thinking = [part for part in parts if REASONING.search(str(part.get("type")))]
    texts = [p["text"] for p in parts if p not in thinking and isinstance(p.get("text"), str)]
    return ("".join(texts) if texts else None), thought or _plain(thinking)


def _plain(value: Any) -> str:
    """The text in a string, in a part of a message, or in a list of them."""
    if isinstance(value, list):
        return "".join(_plain(part) for part in value)
    if isinstance(value, dict):
        names = ("text", "summary", *filter(REASONING.search, value))
        return next(filter(None, (_plain(value.get(name)) for name in names)), "")
    return value if isinstance(value, str) else ""


def _why_no_answer(finish: str, words: str, text: str | None, thought: str, message: Mapping[str, Any]) -> str:
    """Why a choice is not an answer, or an empty text if it is. `words` are those of the finish reason."""
    if message.get("refusal"):
        return f"the server refused: {message['refusal']}"
    if BROKEN.search(words) or FORBIDDEN.search(words):
        return f"the server ended the answer with finish_reason {finish!r}; expected stop or length."
    if text and text.strip():
        return ""
    if CUT_OFF.search(words):
        what = "holds reasoning only, and it is cut off" if thought else "is blank and cut off"
        return f"the answer {what} ({finish}). Raise --max-new-tokens, or serve the model with thinking off."
    if thought:
        return "the answer holds reasoning only. Serve the model with thinking off, or without a reasoning parser."
    if text is None:
        found = type(message.get("content")).__name__
        return f"the server's message has no content (found {found}, finish_reason {finish!r})."
    if not STOPPED.search(words):
        return f"the answer is empty, and the server does not say that the model stopped (finish_reason {finish!r})."
    return ""


def _confidence(logprobs: Any) -> float | None:
    """The smallest probability of a token, of `logprobs` in the form of chat completions; None without any."""
    entries = as_dict(logprobs).get("content")
    values = [as_dict(entry).get("logprob") for entry in entries] if isinstance(entries, list) else []
    known = [value for value in values if isinstance(value, int | float) and value <= 0]
    return math.exp(min(known)) if known and len(known) == len(values) else None


def _answer(text: str, thought: str, cut_off: bool, usage: Any, model: str) -> Answer:
    usage = as_dict(usage)
    details = as_dict(usage.get("prompt_tokens_details"))
    image = as_dict(details.get("multimodal_tokens")).get("image", details.get("image_tokens"))  # vLLM's, others'
    return Answer(
        text=text.encode("utf-8", "replace").decode(),
        image_tokens=_count(image),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        thought=thought.encode("utf-8", "replace").decode(),
        cut_off=cut_off,
        model=model.encode("utf-8", "replace").decode(),
    )


def as_dict(value: Any) -> dict[str, Any]:
    """A server's JSON object; empty in place of anything else."""
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
