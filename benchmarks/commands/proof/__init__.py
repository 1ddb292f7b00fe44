"""The page results/proof: what the instrument can and cannot see, from the runs of `make proof`."""
