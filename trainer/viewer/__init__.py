"""Pages that open from disk; reads what runs and data sets wrote."""
