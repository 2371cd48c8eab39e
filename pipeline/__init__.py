"""The pipeline: what it is (`pipeline.py`), its settings (`configs.py`), and who runs it."""

from components.startup import start_tensorflow

start_tensorflow()  # which whatever is imported from here would do, with its chat
