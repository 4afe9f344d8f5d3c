"""Training in several processes: Ray Train, and batch normalization over all of them."""
