"""TFX's Evaluator, on the files of this project's ExampleGens alone."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tfx.components.evaluator import executor
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from components.examples.records import split_pattern


class Executor(executor.Executor):
    """Passes over what else lies in the folder of a split.

    TFX's own reads every file there, one that a file manager left too, and fails on it after the training. It
    does not look at the patterns that the examples carry (`examples.executor`), as StatisticsGen does.
    """

    def Do(  # noqa: N802, TFX's name
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates; see TFX's.

        Args:
            input_dict: `model`, `examples` and perhaps `baseline_model`.
            output_dict: `evaluation` and `blessing`.
            exec_properties: `eval_config` and `example_splits`.
        """
        with _own_files():
            super().Do(input_dict, output_dict, exec_properties)


@contextlib.contextmanager
def _own_files() -> Iterator[None]:
    """Has TFX look for the files of a split by `split_pattern`, for which it has no setting."""
    before = io_utils.all_files_pattern
    io_utils.all_files_pattern = split_pattern
    try:
        yield
    finally:
        io_utils.all_files_pattern = before
