"""What can be done with a UV map: projections, landmarks, pose, model fit, faces in pictures."""
