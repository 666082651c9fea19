"""Who makes the shadow models."""
