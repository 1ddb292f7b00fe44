"""Editing methods, one file each in a folder per family; tests/editing/methods/test_contract.py is the contract of all."""

from editing.methods.base import Method, Placement
from editing.methods.registry import FAST, make_method, method_names, registry, taken_by

__all__ = ["FAST", "Method", "Placement", "make_method", "method_names", "registry", "taken_by"]
