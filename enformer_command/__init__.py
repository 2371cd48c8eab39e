"""The command `enformer`: a thin layer over `enformer_keras`, imported when the work begins."""

from enformer_keras.extras import from_extra

with from_extra("command"):  # of every module here
    import click  # noqa: F401
    import tqdm  # noqa: F401
