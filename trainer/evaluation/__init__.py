"""Reports on trained networks: data sets, photos, clips. Imports systems and what lies below."""
