"""Flash-MNIST (Attention Clusters, section 4): its CNN of digits, and its store of features."""
