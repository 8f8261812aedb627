"""What servers really reply: their shapes of answers and errors, each with its source and with what it has to become.

`REPLIES` by server: a normal answer, one cut off, a blank or filtered one, one with reasoning, and a prompt that is too
long, as far as their documentation, source or issues show them. Texts and ids are shortened; fields that the client
does not read are left out only where they are long. `TOO_LONG` are further wordings of that refusal.

`source` is "documented", "from source", "reported" (an issue that quotes the reply) or "run" (a server run here by
tests/engines/real_servers.py), and where.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gapbench.engines.server.context import TooLong


@dataclass(frozen=True)
class Reply:
    """One reply and its reading: an answer with `text`, or a failure whose message has the words `said`."""

    server: str
    source: str
    body: Any
    status: int = 200
    text: str | None = None
    thought: str = ""
    cut_off: bool = False
    said: str = ""
    too_long: TooLong | None = None

    @property
    def bytes(self) -> bytes:
        return json.dumps(self.body).encode()


def completion(content: Any, finish: str | None, choice: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    """The envelope that all of them share (https://platform.openai.com/docs/api-reference/chat/object)."""
    said = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 23, "completion_tokens": 9, "total_tokens": 32}
    choices = [{"index": 0, "message": said, "finish_reason": finish, **(choice or {})}]
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}
