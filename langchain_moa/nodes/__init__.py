"""The nodes of the graph, and what they share."""
