"""Read an API key from an environment variable. The key goes into one header and nowhere else.

    key = read_key("OPENAI_API_KEY")
    key.redact(text_from_a_server)      # "Incorrect API key: [API key]"

Limits: a key of fewer than `SECRET` characters counts as a placeholder ("EMPTY") and is not redacted. A key that a
server repeats only in part is not recognised.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from gapbench.errors import SettingError

SECRET = 8
"""Fewest characters of a key that is redacted: answers may contain `EMPTY` and similar words."""


@dataclass(frozen=True)
class ApiKey:
    """An API key, or no key. Its `repr` does not show the key."""

    value: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that authorise a request."""
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}

    def redact(self, text: str) -> str:
        """`text` without the key, whether plain, URL-quoted, or JSON-escaped any number of times."""
        if len(self.value) >= SECRET:
            escaped = r"\\*".join(map(re.escape, self.value))
            text = re.sub(f"{escaped}|{re.escape(quote(self.value, safe=''))}", "[API key]", text)
        return text


def read_key(variable: str) -> ApiKey:
    """The key in the named environment variable; an empty name gives no key.

    Raises SettingError if the variable is missing, or if its value does not fit into a header. The message never shows
    the value, nor the name of a missing variable: it may be a key that was passed by mistake.
    """
    if not variable:
        return ApiKey()
    value = os.environ.get(variable, "").strip()
    if not value:
        raise SettingError(
            "--api-key-env: no such environment variable, or it is empty. (Its name is not shown: it may be a key.) "
            "Expected the name of a variable that holds the key, as in: export OPENAI_API_KEY=…; "
            "gapbench measure … --api-key-env OPENAI_API_KEY."
        )
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise SettingError(f"--api-key-env {variable}: its value has spaces or characters that no header can hold.")
    return ApiKey(value)
