"""The pages of docs/ that are made from the code: commands, plans, families, refusals."""

from benchmarks.commands.pages.generated import PAGES, ROOT, main
from benchmarks.commands.pages.refusals import Refusal, refusals

__all__ = ["PAGES", "ROOT", "Refusal", "main", "refusals"]
