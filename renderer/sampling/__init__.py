"""(spec, seed, index) to the parameters of a sample. Imports head and what lies below it."""
