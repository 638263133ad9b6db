"""Position maps from one picture of a face or from two views of it, after Kwon 2021."""
