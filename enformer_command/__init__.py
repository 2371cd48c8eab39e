"""The command `enformer`: a thin layer over `enformer_keras`, imported when the work begins."""

try:
    import click  # noqa: F401
    import tqdm  # noqa: F401
except ModuleNotFoundError as error:  # as `enformer_keras.extras` says it, which would import Keras
    raise ModuleNotFoundError(
        f"{error.name} is needed here and is not installed: pip install 'enformer-keras[command]'",
        name=error.name,
    ) from error
