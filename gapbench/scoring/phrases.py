"""The words and forms that scoring knows, from `phrases.toml` beside this file.

    form("refusal").search("I cannot tell.")

Limits: English, Chinese and a little of eight other languages.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_PHRASES = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8"))


def word_list(name: str) -> list[str]:
    """The whole words under a name, in order."""
    return str(_PHRASES["words"][name]).split()


def word_set(name: str) -> frozenset[str]:
    """The whole words under a name."""
    return frozenset(word_list(name))


def form(name: str, flags: int = re.I) -> re.Pattern[str]:
    """The regular expression under a name."""
    return re.compile(_text(name), flags)


def _text(name: str) -> str:
    if name in _PHRASES["words"]:
        return "|".join(word_list(name))
    lines = re.sub(r"(?:\A|\n)(?: {4})*", "", _PHRASES["forms"][name])
    return re.sub("«([a-z_]+)»", lambda part: f"(?:{_text(part[1])})", lines)
