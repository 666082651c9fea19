"""From predictions and membership to a score per target and point; one file per family of attacks."""
