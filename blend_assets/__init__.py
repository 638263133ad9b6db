"""Builds the standard head pack from packages fetched by name. Imports renderer.head and what lies below it."""
