"""Members: the models of a mixture, how they are made, what they are sent, and how they are called."""
