"""What a sample, a shard and a data set are on disk. Imports the leaves alone."""
