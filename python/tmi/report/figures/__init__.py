"""Figures, which nothing but matplotlib draws; imported when one is drawn."""

# The endings of a figure's files.
ENDINGS = ("png", "svg")
# Those that a report may have; what it no longer has is removed from its directory.
NAMES = ("members", "roc", "histogram", "views", "shadows", "variants", "together")
