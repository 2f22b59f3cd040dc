"""Packages, virtual environment, private servers and supervisor that the commands use.

`launch`, `packages`, `environment` and `progress` run before anything is installed. They import only the standard
library.
"""
