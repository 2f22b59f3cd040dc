"""What the commands stand on: packages, the virtual environment, private servers and the supervisor.

`launch`, `packages`, `environment` and `progress` run before anything is installed, so they import
only the standard library.
"""
