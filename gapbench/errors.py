"""Errors that a user can act on.

Every message names the sample or setting, what was found, what was expected, and a remedy.
The command line prints only the message and exits with 2; `--debug` shows the traceback.
"""

from __future__ import annotations

KEPT = "Answers so far are kept; the same command continues."
"""The end of a message about an engine that fails in the middle of a run."""


class GapbenchError(Exception):
    """Base class of all errors whose message is written for the user."""


class SettingError(GapbenchError):
    """A flag, argument or recipe value that cannot be used."""


class BenchmarkError(GapbenchError):
    """A benchmark that cannot be found, read or trusted."""


class SampleError(GapbenchError):
    """A sample that cannot be shown to the model. Its record is `failed`; the run goes on."""


class ModelError(GapbenchError):
    """A model that cannot be found, loaded or run."""


class RunError(GapbenchError):
    """A run folder that cannot be read, continued or written."""
