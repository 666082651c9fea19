"""From scores to figures with intervals."""
