"""Training sets: a description, its tracks and masks, and the windows that a genome is cut into."""

from enformer_keras.extras import from_extra

with from_extra("genome"):  # of every module here
    import pydantic  # noqa: F401
    import yaml  # noqa: F401
