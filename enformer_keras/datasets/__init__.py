"""Training sets: a description, its tracks and masks, and the windows that a genome is cut into."""
