"""What every method costs and gives.

`presets` measures every method at its two presets and has what all measurements share, `search` measures other
settings (`grids` lists them), `layers` other places; `table` writes docs/reference/methods.md, with `search_page` for
the parts about the search.
"""
