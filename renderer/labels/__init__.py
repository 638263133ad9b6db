"""Images and records that follow from geometry. Imports sampling and what lies below it."""
