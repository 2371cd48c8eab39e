"""What is raised where the pipeline cannot be compiled."""


class CompileError(ValueError):
    """The pipeline cannot run on Kubeflow as it is."""
