"""An API key comes from an environment variable and goes into one header, nowhere else.

    key = read_key("OPENAI_API_KEY")
    key.redact(whatever_a_server_said)      # "Incorrect API key: [API key]"

Limits: what is shorter than `SECRET` characters is taken for a placeholder ("EMPTY") and not redacted; a key that a
server repeats in part only is not recognised.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from gapbench.errors import SettingError

SECRET = 8
"""Characters from which on a key is redacted: `EMPTY` and the like are words that answers may hold."""
NAME = re.compile(r"(?=.{1,40}$)[A-Z]{1,16}\d?(_[A-Z]{1,16}\d?)+")
"""Names of variables that can be shown: OPENAI_API_KEY, HF_TOKEN2; not AKIA0123456789ABCDEF, nor hf_Abc."""


@dataclass(frozen=True)
class ApiKey:
    """An API key, or none; its `repr` does not show it."""

    value: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What authorises a request."""
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}

    def redact(self, text: str) -> str:
        """`text` without the key: as it is, in a URL, or in JSON however often it was escaped."""
        if len(self.value) >= SECRET:
            escaped = r"\\*".join(map(re.escape, self.value))
            text = re.sub(f"{escaped}|{re.escape(quote(self.value, safe=''))}", "[API key]", text)
        return text


def read_key(variable: str) -> ApiKey:
    """The key in the environment variable of that name; no key for no name.

    Raises SettingError where the variable is missing or holds what no header can. Never shows a value, and a name only
    if it is words of capitals joined by underscores, for it may be a key given by mistake, and they hardly look so.
    """
    if not variable:
        return ApiKey()
    shown = variable if NAME.fullmatch(variable) else "(not shown: it may be a key itself)"
    value = os.environ.get(variable, "").strip()
    if not value:
        raise SettingError(
            f"--api-key-env {shown}: no such environment variable, or it is empty. Expected the name of a variable "
            "that holds the key, as in: export OPENAI_API_KEY=…; gapbench measure … --api-key-env OPENAI_API_KEY."
        )
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise SettingError(f"--api-key-env {shown}: its value has spaces or characters that no HTTP header can hold.")
    return ApiKey(value)
