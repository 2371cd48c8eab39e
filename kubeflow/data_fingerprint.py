"""The first task on Kubeflow: what the data are, so that the cache of all that follows is that of these data.

It is never taken from the cache itself. TFX's driver of an ExampleGen would do this, but Kubeflow runs none.
"""

import argparse
import logging
import sys
from pathlib import Path

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from enformer_keras.genome.errors import DatasetError  # noqa: E402
from pipeline.data import fingerprint_data  # noqa: E402


def main() -> None:
    """Writes the fingerprint that was given, or else that of the files, to a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--given", required=True, help="takes the fingerprint's place if it is not empty")
    parser.add_argument("--dataset", type=Path, required=True, help="YAML file of the dataset")
    parser.add_argument("--digests", type=Path, required=True, help="remembers the digests of unchanged files")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    fingerprint = arguments.given
    if not fingerprint:
        arguments.digests.parent.mkdir(parents=True, exist_ok=True)
        try:
            fingerprint = fingerprint_data(arguments.dataset, arguments.digests)
        except DatasetError as error:
            sys.exit(f"the dataset cannot be used:\n{error}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(fingerprint)


if __name__ == "__main__":
    main()
