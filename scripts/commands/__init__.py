"""The commands: one package for each executable of `scripts/`."""
