"""Members: the models of a mixture, as they are called."""
