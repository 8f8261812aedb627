"""What a server sent is an answer, or a fault; nothing else, and never a fault graded as an answer.

    read(status, headers, body, key.redact)     # Answer(text="Paris", ...) or Fault("HTTP 500", ...)

A fault says what is to be done about it (`Then`). An empty answer is an answer where the server says that the model
stopped; no content, a refusal, a filter and an answer that consists of tool calls are not.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from gapbench.types import Answer

STOPPED = {"stop", "eos", "eos_token", "stop_sequence", "end_turn"}
CUT_OFF = {"length", "max_tokens", "model_length"}
"""Finish reasons: OpenAI's names, and those of servers that have their own."""
LONGEST = 300
"""Characters of a server's message that are kept."""
LONGEST_REST = 600.0
"""Seconds that a server may ask us to wait; more is taken for a refusal."""


class Then(Enum):
    """What a fault asks for."""

    GIVE_UP = "the request is at fault, and would be again"
    RETRY = "the server is in trouble or busy, and may answer next time"
    ELSEWHERE = "the server was not reached, so the request was not tried"
    REFUSED = "the server refuses whatever is asked"


@dataclass(frozen=True)
class Fault:
    """`kind` is counted ("HTTP 429", "timeout"), `message` is shown; `wait` is seconds the server asked for.

    `busy` faults are those that asking less may cure at once.
    """

    kind: str
    message: str
    then: Then
    wait: float = 0.0
    busy: bool = False


def read(status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str] = str) -> Answer | Fault:
    """One response, as far as it can be understood; `redact` sees every text before it is cut or kept."""
    if status != 200:
        return _refusal(status, headers, body, redact)
    kind = headers.get("content-type", "")
    if "json" not in kind.lower():
        found = explain(body, redact)
        return Fault("wrong content type", f"content type {redact(kind)[:80]!r} in place of JSON: {found}", Then.RETRY)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Fault("not JSON", f"{len(body):,} bytes that are not JSON: {explain(body, redact)}", Then.RETRY)
    if isinstance(value, dict) and value.get("error"):  # some gateways report errors of others with status 200
        code = value["error"].get("code") if isinstance(value["error"], dict) else None
        return _refusal(code if isinstance(code, int) and 400 <= code < 600 else 500, headers, body, redact)
    try:
        choice, message = value["choices"][0], value["choices"][0]["message"]
        finish, content = choice.get("finish_reason"), message.get("content")
    except (LookupError, TypeError, AttributeError):
        return Fault("no choices", f"JSON without choices[0].message: {explain(body, redact)}", Then.RETRY)
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if reason := _no_answer(finish, content, message):
        again = Then.RETRY if finish in (None, "abort", "error") else Then.GIVE_UP
        return Fault("no content", redact(reason)[:LONGEST], again)
    return _answer(redact(content), finish, value.get("usage"), redact(str(value.get("model") or ""))[:LONGEST])


def explain(body: bytes, redact: Callable[[str], str] = str) -> str:
    """The message in an error's JSON, or the beginning of whatever it is; printable, and not long."""
    text = body[:100_000].decode("utf-8", "replace")
    try:
        value = json.loads(body)
        for name in ("error", "message", "detail"):
            found = value.get(name) if isinstance(value, dict) else None
            if found:
                found = found.get("message", found) if isinstance(found, dict) else found
                text = found if isinstance(found, str) else json.dumps(found)
                break
    except (ValueError, RecursionError):
        pass
    text = " ".join("".join(c if c.isprintable() else " " for c in redact(text)).split())
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}…") or "(nothing)"


def _refusal(status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]) -> Fault:
    message = f"HTTP {status}: {explain(body, redact)}"
    if status == 429 and b"insufficient_quota" in body:
        return Fault("HTTP 429", message, Then.REFUSED)
    if status in (408, 429) or status >= 500:
        wait = _retry_after(headers)
        if wait > LONGEST_REST:
            return Fault(f"HTTP {status}", f"{message} (it asks us to wait {wait:,.0f} s)", Then.REFUSED)
        return Fault(f"HTTP {status}", message, Then.RETRY, wait, busy=status in (408, 429, 503, 529))
    if status < 400 or status in (401, 402, 404, 405):
        found = headers.get("location", "")
        return Fault(f"HTTP {status}", message + (f" (to {redact(found)[:LONGEST]})" if found else ""), Then.REFUSED)
    return Fault(f"HTTP {status}", message, Then.GIVE_UP)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds from now, given as such or as a date (RFC 9110, section 10.2.3); 0 where it says nothing."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _no_answer(finish: Any, content: Any, message: Mapping[str, Any]) -> str:
    """Why a choice is no answer; empty if it is one."""
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
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    by_kind = details.get("multimodal_tokens")  # vLLM's
    image = by_kind.get("image") if isinstance(by_kind, dict) else details.get("image_tokens")
    return Answer(
        text=text.encode("utf-8", "replace").decode(),
        image_tokens=_count(image),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        truncated=finish in CUT_OFF,
        model=model.encode("utf-8", "replace").decode(),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
