"""Performance capture after Laine et al. 2017: from video of one actor to the vertices of a mesh, frame by frame."""
