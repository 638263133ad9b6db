"""What one job does on its node: render, verify, or run a command. Imports renderer and slurm's records and plan."""
