"""Flash-MNIST (Attention Clusters, section 4): the digit CNN and the store of its features."""
