"""The pipeline: what it is (`pipeline.py`), its settings (`configs.py`), and who runs it."""
