"""Mixtures on a server: what `langgraph dev`, Studio and Agent Server load.

`langgraph.json` names `make_graph`, or a factory of your own by `graph_factory`. Nothing here is imported by `langchain_moa`.
"""

from langchain_moa.studio.factory import graph_factory, make_graph

__all__ = ["graph_factory", "make_graph"]
