"""How the pipeline finds the model that a new one is compared with, where ML Metadata is out of reach."""
