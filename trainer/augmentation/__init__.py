"""Minibatches varied, as a function of (seed, epoch, sample). Imports data."""
