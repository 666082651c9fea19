"""The schema of ``results.json`` and how it is shown: sections of blocks, and a renderer for each medium."""
