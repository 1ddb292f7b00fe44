"""EasyEdit's hyper-parameter files, read as settings of our methods."""
