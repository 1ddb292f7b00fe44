"""One table and one page out of many runs."""

from valley.board.page import write_board
from valley.board.table import BOARD_COLUMNS, board, format_board

__all__ = ["BOARD_COLUMNS", "board", "format_board", "write_board"]
