"""Stop conditions, which end the layers early. Each module is one stop condition, and its name is the module's."""
