"""Training in several processes with Ray Train, and batch normalization over all of them."""
