"""The data that all parts speak of: references, answers, calls, errors; redaction and validation."""
