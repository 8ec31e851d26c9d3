"""What is declared: the spec, read once and checked whole, and the graph of its stages."""
