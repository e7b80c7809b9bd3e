"""The engine: builds and runs the LangGraph graph of a mixture."""
