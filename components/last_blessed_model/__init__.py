"""How the pipeline finds the model that a new one is compared with."""
