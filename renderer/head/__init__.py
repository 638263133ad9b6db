"""A head and what it wears as arrays, and the catalogue of assets. Imports parameters, format and the leaves."""
