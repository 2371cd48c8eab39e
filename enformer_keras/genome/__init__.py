"""Genomes and their tracks from FASTA, bigWig and GFF3 files: for notebooks and for the pipeline alike.

Needs the extra ``genome`` (pysam, pyBigWig, pydantic, PyYAML); `import enformer_keras` alone does not.
Basenji's records need TensorFlow too.
"""

from enformer_keras.datasets.basenji import BasenjiFolder, BasenjiRecord, basenji_dataset
from enformer_keras.datasets.basenji_writer import write_basenji
from enformer_keras.datasets.dataset import Dataset, load_dataset, load_datasets
from enformer_keras.datasets.leaks import Leak, audit_leaks
from enformer_keras.datasets.planning import Plan, plan_windows
from enformer_keras.datasets.window_reader import WindowReader
from enformer_keras.datasets.windows import Window
from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.intervals import Interval
from enformer_keras.training.batches import WindowBatches

__all__ = [
    "BasenjiFolder",
    "BasenjiRecord",
    "Dataset",
    "DatasetError",
    "Interval",
    "Leak",
    "Plan",
    "Window",
    "WindowBatches",
    "WindowReader",
    "audit_leaks",
    "basenji_dataset",
    "load_dataset",
    "load_datasets",
    "plan_windows",
    "write_basenji",
]
