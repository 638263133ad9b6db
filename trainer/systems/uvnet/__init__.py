"""UV-net (Ronkainen 2017): network, losses, metrics."""
