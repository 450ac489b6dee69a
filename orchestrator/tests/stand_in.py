#!/usr/bin/env python3
"""Stands in for the Python of the ml environment: writes down how it is called and answers as it is told.

`CALLS` is the file to write to; `ANSWERS` a JSON object with an answer per command. Without an answer the command fails.
"""

import json
import os
import sys
from pathlib import Path

module, command, *options = sys.argv[2:]
assert (sys.argv[1], module) == ("-m", "lonetree_ml")
with Path(os.environ["CALLS"]).open("a") as calls:
    calls.write(json.dumps([command, *options]) + "\n")
answer = json.loads(os.environ["ANSWERS"]).get(command)
print("a line of the log", file=sys.stderr)
if answer is None:
    sys.exit(1)
print(json.dumps(answer))
