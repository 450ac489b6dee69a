"""Runs the command line: `python -m lonetree_ml`."""

import sys

from lonetree_ml.cli import main

sys.exit(main())
