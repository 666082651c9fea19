"""Training of many small models at once."""
