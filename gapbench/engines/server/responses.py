"""Read a server's response as an answer or a fault, so that no fault is ever scored as an answer.

    read(status, headers, body, key.redact)     # Answer(text="Paris", ...) or Fault("HTTP 500", ...)

A fault carries its remedy (`Remedy`). An empty text is an answer if the finish reason says that the model stopped. A
response without content, a refusal, a filtered answer and an answer of tool calls are faults.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from gapbench.types import Answer

STOPPED = {"stop", "eos", "eos_token", "stop_sequence", "end_turn"}
CUT_OFF = {"length", "max_tokens", "model_length"}
"""Finish reasons of complete answers (`STOPPED`) and of answers cut off (`CUT_OFF`): OpenAI's names, and those of other
servers."""
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
    that the server asked for. `busy`: fewer requests in flight may help at once.
    """

    kind: str
    message: str
    remedy: Remedy
    wait: float = 0.0
    busy: bool = False


def read(status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str] = str) -> Answer | Fault:
    """One response as an answer or a fault. `redact` is applied to every text before it is cut or kept."""
    if status != 200:
        return _error_fault(status, headers, body, redact)
    kind = headers.get("content-type", "")
    if "json" not in kind.lower():
        text = explain(body, redact)
        return Fault("wrong content type", f"content type {redact(kind)[:80]!r} instead of JSON: {text}", Remedy.RETRY)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Fault("not JSON", f"{len(body):,} bytes that are not JSON: {explain(body, redact)}", Remedy.RETRY)
    if isinstance(value, dict) and value.get("error"):  # some gateways pass on errors with status 200
        code = as_dict(value["error"]).get("code")
        return _error_fault(code if isinstance(code, int) and 400 <= code < 600 else 500, headers, body, redact)
    try:
        choice, message = value["choices"][0], value["choices"][0]["message"]
        finish, content = choice.get("finish_reason"), message.get("content")
    except (LookupError, TypeError, AttributeError):
        return Fault("no choices", f"JSON without choices[0].message: {explain(body, redact)}", Remedy.RETRY)
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if reason := _why_no_answer(finish, content, message):
        remedy = Remedy.RETRY if finish in (None, "abort", "error") else Remedy.GIVE_UP
        return Fault("no content", redact(reason)[:LONGEST], remedy)
    return _answer(redact(content), finish, value.get("usage"), redact(str(value.get("model") or ""))[:LONGEST])


def explain(body: bytes, redact: Callable[[str], str] = str) -> str:
    """The message of an error's JSON, or the beginning of any other body; printable, at most `LONGEST` characters."""
    text = body[:100_000].decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        value = as_dict(json.loads(body))
        if message := next(filter(None, map(value.get, ("error", "message", "detail"))), None):
            message = message.get("message", message) if isinstance(message, dict) else message
            text = message if isinstance(message, str) else json.dumps(message)
    text = " ".join("".join(c if c.isprintable() else " " for c in redact(text)).split())
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}…") or "(nothing)"


def _error_fault(status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]) -> Fault:
    kind = f"HTTP {status}"
    message = f"{kind}: {explain(body, redact)}"
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


def _why_no_answer(finish: Any, content: Any, message: Mapping[str, Any]) -> str:
    """Why a choice is not an answer, or an empty text if it is."""
    if message.get("refusal"):
        return f"the server refused: {message['refusal']}"
    if finish is not None and finish not in STOPPED | CUT_OFF:
        return f"the server ended the answer with finish_reason {finish!r}; expected stop or length."
    if not isinstance(content, str):
        if message.get("reasoning_content") or message.get("reasoning"):
            return "the answer holds reasoning only. Raise --max-new-tokens, or serve the model with thinking off."
        return f"the server's message has no content (found {type(content).__name__}, finish_reason {finish!r})."
    if not content and finish is None:
        return "the answer is empty, and the server does not say that the model stopped."
    return ""


def _answer(text: str, finish: Any, usage: Any, model: str) -> Answer:
    usage = as_dict(usage)
    details = as_dict(usage.get("prompt_tokens_details"))
    image = as_dict(details.get("multimodal_tokens")).get("image", details.get("image_tokens"))  # vLLM's, others'
    return Answer(
        text=text.encode("utf-8", "replace").decode(),
        image_tokens=_count(image),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cut_off=finish in CUT_OFF,
        model=model.encode("utf-8", "replace").decode(),
    )


def as_dict(value: Any) -> dict[str, Any]:
    """A server's JSON object; empty in place of anything else."""
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
