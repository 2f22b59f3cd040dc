"""The downstream services: one package for each, with its contract and its local implementation."""
