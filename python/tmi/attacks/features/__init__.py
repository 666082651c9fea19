"""What the metaclassifiers see of predictions."""
