"""What may be drawn (specs) and what was drawn (parameters of a sample). Imports format and the leaves."""
