"""Hydra finds launchers in this namespace alone."""
