"""Specs, cluster profiles and trainings that come with headforge, as YAML. Imports nothing."""
