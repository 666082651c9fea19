"""Points: their sources, who is trained on which, and what is asked about them."""
