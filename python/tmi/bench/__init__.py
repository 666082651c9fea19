"""``tmi bench``: how fast the kernels are on this machine, next to good NumPy and to a copy of their input."""
