"""What can be done with any experiment, one verb per file, and the command line that calls them."""
