"""What runs on a node: one file, standard library only."""
