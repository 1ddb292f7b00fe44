"""What leaves the program: a change in the forms that other programs load, and its publication on a hub."""

from editing.export.card import card_of, write_card
from editing.export.gguf_file import export_gguf
from editing.export.merged import export_merged
from editing.export.plain import export_plain
from editing.export.push import push
from editing.export.steering import export_control_vector, export_steered

__all__ = [
    "card_of",
    "export_control_vector",
    "export_gguf",
    "export_merged",
    "export_plain",
    "export_steered",
    "push",
    "write_card",
]
