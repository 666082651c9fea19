"""What learns from the shadow models what membership looks like."""
