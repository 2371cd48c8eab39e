"""Examples of windows: what they hold, how ExampleGens write them, and how they are read back at any place."""
