"""One file per published data set or file format."""
