"""Errors a user can fix. Each is one line that names the thing, where it is, and what to do.

The command line turns any `UserError` into that one line and exit code 2; everything else is a bug
and keeps its traceback.
"""


class UserError(Exception):
    """A mistake in the input or the surroundings, not in this program."""


class NoSite(UserError):
    """The model has no linear map of the requested kind (routed experts, encoder-decoders, Mamba...)."""


class BadRequest(UserError):
    """An edit request that cannot be carried out as written."""


class Unreachable(BadRequest):
    """No change at the place of the edit can reach the request's target: nothing there is read by what predicts it."""


class BadModel(UserError):
    """A model reference that cannot be resolved, loaded or trusted."""


class BadData(UserError):
    """A data file or folder that is malformed, missing or not writable."""


class OutOfMemory(UserError):
    """The smallest piece of the work does not fit into memory."""
