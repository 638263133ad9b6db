"""From missing shards, or from commands, to jobs in the queue. Imports slurm.node and what lies below it."""
