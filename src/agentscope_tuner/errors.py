"""Errors that a user can act on.

Everything a user may have got wrong is raised as a `TunerError` whose message is one clear
sentence: what is wrong, where, and what to do. The command line prints that sentence alone; every
other exception is a bug of ours and keeps its traceback.
"""


class TunerError(Exception):
    """Something the user can put right; the message says what and how."""


class InputError(TunerError, ValueError):
    """An argument, a file or a configuration key is wrong. Raised before any time is spent."""


class RunError(TunerError, RuntimeError):
    """A run cannot go on (every rollout failed, a full disk, a damaged checkpoint)."""
