"""From what is missing, or from commands, to jobs in the queue."""
