"""The release step: `python -m scripts.commands.migrate`."""

import sys

from scripts.commands.migrate.main import main

sys.exit(main(sys.argv[1:]))
