"""A frontal, neutral face from any photo of it, after Wang 2019 and Cole et al. 2017: features to a face and a mask."""
