"""The only way to the terminal: text of models, servers, data and libraries cannot steer it or show a credential.

    say("glance: self-check …")             # to standard error
    say(result.text(), sys.stdout)

`guard_terminal` sends what gapbench does not print itself the same way: warnings and log lines of all libraries.

Limits: a library that writes to a stream by itself, such as a progress bar of the Hub, is not seen.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from gapbench.util.text import printable, redacted, shorten

LINE, TEXT = 2_000, 100_000
"""Most characters of a line, and of a text. A message of one paragraph (`complain`) has at most `MESSAGE`."""
MESSAGE = 5_000

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
)
"""Escape sequences that are complete: colours, cursor moves, titles and links (ECMA-48, section 5.4 and 5.6)."""


def clean(text: object, limit: int = TEXT) -> str:
    """Printable text without escape sequences and credentials. Newlines and tabs stay; lines are clipped, and all."""
    lines = shorten(printable(_SEQUENCE.sub("", redacted(str(text)))), limit).split("\n")
    return "\n".join(shorten(line, LINE) for line in lines)


def say(text: object, to: TextIO | None = None, limit: int = TEXT) -> None:
    """Print clean text and a newline to a stream (default: standard error)."""
    print(clean(text, limit), file=to or sys.stderr, flush=True)


def say_json(value: Any) -> None:
    """Print a value as JSON in ASCII, whole: control characters are escaped, and no line is cut."""
    print(json.dumps(value, indent=1), file=sys.stdout, flush=True)


def complain(text: object) -> None:
    """An error or a warning, as a paragraph on standard error."""
    say(f"gapbench: {text}", limit=MESSAGE)


def guard_terminal() -> None:
    """Clean warnings and log lines, and let no stream raise an error for a character that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that is not UTF-8 shows question marks
            stream.reconfigure(errors="replace")
    make_record = logging.getLogRecordFactory()

    def clean_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        with suppress(Exception):  # arguments that do not fit: logging says so later
            record.msg, record.args = clean(record.getMessage(), MESSAGE), ()
        return record

    logging.setLogRecordFactory(clean_record)
    warnings.showwarning = _show_warning


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    """Print a warning of gapbench as one line, without the code that raised it, and others as Python does."""
    if Path(__file__).parents[1] in Path(filename).parents:
        complain(f"warning: {' '.join(str(message).split())}")
    else:
        say(warnings.formatwarning(message, category, filename, lineno, line).rstrip("\n"), file, MESSAGE)
