"""The engine: loop, optimisers, checkpoints, log. Imports augmentation and data; knows no system."""
