"""The commands: one module a script, and how errors are shown."""
