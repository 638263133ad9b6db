"""What is said of a data set: verification, card, pictures, statistics. Imports run and what lies below it."""
