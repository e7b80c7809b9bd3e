"""Graph factories for `langgraph dev`, Studio and Agent Server.

`langgraph.json` names `make_graph`, or your own factory from `graph_factory`. `langchain_moa` does not import this package.
"""

from langchain_moa.studio.factory import graph_factory, make_graph

__all__ = ["graph_factory", "make_graph"]
