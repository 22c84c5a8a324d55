"""LightGCN on the user-item graph: adjacency, propagation, sampling, training."""
