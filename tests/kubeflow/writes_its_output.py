"""Stands for TFX's entrypoint where only what ours does around it is looked at."""

import json
import sys
from pathlib import Path

_, _, invocation = sys.argv[1].partition("=")
Path(json.loads(invocation)["outputs"]["outputFile"]).write_text("{}")
