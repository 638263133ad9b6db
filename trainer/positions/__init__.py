"""Position maps: the face as an image over UV whose pixels are 3D points. Imports uvmaps and what lies below it."""
