"""Parameters of a head model from one picture, after Goepfert et al. 2018: vectors as targets, one network."""
