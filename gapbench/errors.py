"""Errors a user can act on.

Every message names the sample or setting, what was found, what was expected and the remedy.
The command line prints the message alone and exits with 2; `--debug` shows the traceback.
"""

from __future__ import annotations


class GapbenchError(Exception):
    """Base of all errors whose message is written for the user."""


class SettingError(GapbenchError):
    """A flag, argument or recipe value that cannot be used."""


class BenchmarkError(GapbenchError):
    """A benchmark that cannot be found, read or trusted."""


class SampleError(GapbenchError):
    """One sample that cannot be shown to the model; recorded as `failed`, never fatal."""


class ModelError(GapbenchError):
    """A model that cannot be found, loaded or run."""


class RunError(GapbenchError):
    """A run folder that cannot be read, continued or written."""
