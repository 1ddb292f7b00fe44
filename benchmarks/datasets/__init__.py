"""Data sets: name -> cases. ours/ makes them from the world, formats/ reads other people's files, reading/ is how."""
