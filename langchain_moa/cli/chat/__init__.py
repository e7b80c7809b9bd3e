"""The interactive chat: what is typed, what it does, and what is said back."""
