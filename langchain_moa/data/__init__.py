"""Shared data types and functions: references, answers, calls and errors; redaction and validation."""
