"""The interactive chat: input, slash commands and output."""
