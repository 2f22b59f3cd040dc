"""Run the demonstration: `python -m scripts.commands.demo`."""

import sys

from scripts.commands.demo.main import main

sys.exit(main(sys.argv[1:]))
