"""The commands: one module a script, and errors in one line."""
