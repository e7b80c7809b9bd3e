"""The engine: the nodes of a mixture's graph, and the graph."""
