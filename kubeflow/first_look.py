"""The first task on Kubeflow: the data, regions, variants and weights that a run begins with, as they are now.

It asks Beam's workers too, where it can.

It is never taken from the cache, and what comes after it is, if nothing has changed. Elsewhere the local runner
looks, before it begins; on Kubeflow only a task sees the volumes.
"""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

# The script's own folder comes first on the path, where nothing is to be imported from.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from components.evaluator.regions import RegionFile  # noqa: E402
from components.trainer.warm_start import LAST_BLESSED, fingerprint_start  # noqa: E402
from components.variant_scorer.files import VariantFile  # noqa: E402
from enformer_keras.formats.errors import DatasetError  # noqa: E402
from kubeflow.workers import WorkersError, check_pool  # noqa: E402
from pipeline.configs import SPLITS  # noqa: E402
from pipeline.data import check_regions, check_variants, fingerprint_data  # noqa: E402

_logger = logging.getLogger("first_look")


def main() -> None:
    """Writes the fingerprints of the data and of the weights to begin with into a file each."""
    os.umask(0o022)  # as entrypoint.py does: Argo's lets everybody change what is written on a volume
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", type=Path, required=True, help="YAML file of the dataset")
    parser.add_argument("--digests", type=Path, required=True, help="remembers the digests of unchanged files")
    parser.add_argument("--regions", type=json.loads, required=True, help="organism -> fields of a RegionFile")
    parser.add_argument("--variants", type=json.loads, required=True, help="the same of a VariantFile")
    parser.add_argument("--data_fingerprint", required=True, help="if not empty, the data are not hashed")
    parser.add_argument("--warm_start", required=True, help="whose weights to begin with, see Settings")
    parser.add_argument("--workers", help="a worker pool of Beam that must give a worker, as host:port")
    parser.add_argument("outputs", type=Path, nargs=2, help="files of the two fingerprints")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    try:
        fingerprint = arguments.data_fingerprint
        if not fingerprint:
            arguments.digests.parent.mkdir(parents=True, exist_ok=True)
            fingerprint = fingerprint_data(arguments.dataset, arguments.digests)
        regions = {organism: RegionFile(**fields) for organism, fields in arguments.regions.items()}
        if regions:
            check_regions(arguments.dataset, regions, SPLITS[-1])
        variants = {organism: VariantFile(**fields) for organism, fields in arguments.variants.items()}
        if variants:
            check_variants(arguments.dataset, variants)
        start = arguments.warm_start
        answers = (fingerprint, "" if start in ("", LAST_BLESSED) else fingerprint_start(start))
        if arguments.workers:
            check_pool(arguments.workers)
    except (DatasetError, FileNotFoundError, WorkersError) as error:
        sys.exit(f"this run cannot begin:\n{error}")
    _logger.info("the data: %s; the weights: %s", fingerprint, start or "fresh")
    for file, answer in zip(arguments.outputs, answers, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(answer)


if __name__ == "__main__":
    main()
