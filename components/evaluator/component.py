"""`Evaluator`: TFX's, with an executor that reads nothing but examples."""

from tfx import v1 as tfx
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from components.evaluator.executor import Executor


class Evaluator(tfx.components.Evaluator):
    """Measures a model and judges it: TFX's arguments and outputs; `eval_config` says what is measured."""

    EXECUTOR_SPEC = BeamExecutorSpec(Executor)
