"""Beam's Prism, where PRISM names its program: the same examples as from one process."""

from tests.beam_services import workers_in
from tests.datasets.tiny_genome import build_tiny_genome
from tests.genome_example_gen.test_genome_example_gen import build_examples
from tests.genome_example_gen.test_runners import content_of
from tests.kubeflow.beam_prism import prism


def test_prism_gives_the_same_examples(tmp_path):
    with prism() as jobs, workers_in(tmp_path) as workers:
        path = build_tiny_genome(tmp_path).path
        flags = ("--runner=PortableRunner", f"--job_endpoint={jobs}", "--environment_type=EXTERNAL")
        examples = build_examples(path, tmp_path / "prism", *flags, f"--environment_config={workers}")
        assert content_of(examples.uri) == content_of(build_examples(path, tmp_path / "one").uri)
