"""Tests of langchain-moa."""
