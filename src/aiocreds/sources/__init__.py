"""One file a source; ``default.py`` reads as a list of them."""
