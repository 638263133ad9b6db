"""Samples from shards to minibatches. Imports renderer/format and the leaves."""
