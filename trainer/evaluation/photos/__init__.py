"""A UV-net on annotated photos: landmarks, masks, pictures without a face, occluders. Imports uvmaps and below."""
