"""What one job does on its node."""
