"""Every command of the command line. Importing this room imports click and nothing heavy."""

from benchmarks.commands.group import cli

__all__ = ["cli"]
