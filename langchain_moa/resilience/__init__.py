"""What keeps an answer coming when members fail or are slow."""
