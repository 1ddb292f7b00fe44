"""Every command of the command line; heavy imports stay inside the commands."""
