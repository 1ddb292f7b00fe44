"""A sweep as stated: by flags, by a TOML file, or by both; and the grid of settings that it searches."""
