"""What is measured of the trainer."""
