"""The interactive chat: input, commands, and output."""
