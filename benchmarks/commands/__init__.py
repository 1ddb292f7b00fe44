"""Every command of the command line. Importing this room imports click and nothing heavy."""

from benchmarks.commands.group import Commands
from benchmarks.commands.options import verbosity

__all__ = ["Commands", "verbosity"]
