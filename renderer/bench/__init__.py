"""What is measured of the renderer, and rivals beside it. Imports run and what lies below it."""
