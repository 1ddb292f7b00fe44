"""What every method costs and gives: `settings` measures, `table` writes the page."""
