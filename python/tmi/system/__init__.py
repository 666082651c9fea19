"""The machine around a run: files, processes, devices, and what the rest of Python and the operating system bring."""
