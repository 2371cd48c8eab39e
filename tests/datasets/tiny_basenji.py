"""A tiny Basenji folder beside its genome, encoded here by hand: the oracle of the tests."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

SEQ_LENGTH, POOL_WIDTH, CROP, BINS, TRACKS = 96, 16, 16, 4, 3
CONTIGS = {"c1": 2000, "c2": 700}
# 12 files of one training record: train-10 must come after train-9, not after train-1.
RECORDS = {"train": 12, "valid": 3, "test": 2}
TARGETS = """\tgenome\tidentifier\tfile\tclip\tclip_soft\tscale\tsum_stat\tstrand_pair\tdescription
5313\t1\tENCFF1\t/data/a.w5\t32\t	0.1234567891	mean\t5313\tDNASE:5' "end
5314\t1\tCNhs1+\t/data/b.w5\t384\t\t1\tsum\t5315\tCAGE:liver
5315\t1\tCNhs1-\t/data/c.w5\t384\t\t1\tsum\t5314\tCAGE:liver
"""


def one_hot(bases):
    return np.array([[base == letter for letter in "ACGT"] for base in bases])


def serialize(features):
    as_feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=as_feature)).SerializeToString()


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path), "ZLIB") as writer:
        for one in records:
            writer.write(one)


@dataclasses.dataclass
class TinyBasenji:
    """The folder, and what it holds: split -> [(contig, start of the sequence, target)]."""

    path: Path
    fasta: Path
    bases: dict
    rows: dict
    indices: bool

    def expected(self, chrom, start, end):
        """One-hot of a stretch, N beyond the contig."""
        return one_hot(self.letters(chrom, start, end)).astype(np.float32)

    def letters(self, chrom, start, end):
        """Upper-case bases of a stretch, N beyond the contig."""
        return ("N" * 500 + self.bases[chrom] + "N" * 500)[start + 500 : end + 500]

    def record(self, split, number, **more):
        """Serialized record, with features replaced."""
        chrom, start, target = self.rows[split][number]
        letters = self.letters(chrom, start, start + SEQ_LENGTH)
        stored = np.array(["ACGTN".index(b) for b in letters], np.uint8) if self.indices else one_hot(letters)
        return serialize({"sequence": stored.tobytes(), "target": target.tobytes()} | more)

    def file(self, name):
        return self.path / "tfrecords" / name

    def edit_statistics(self, **fields):
        path = self.path / "statistics.json"
        content = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    def edit(self, name, old, new):
        path = self.path / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))


def build_tiny_basenji(folder, *, indices=False, seed=0, split_names=("train", "valid", "test")):
    """Writes genome.fa and data/ into a folder."""
    rng = np.random.default_rng(seed)
    bases = {name: "".join(rng.choice(list("ACGT"), length)) for name, length in CONTIGS.items()}
    bases["c1"] = bases["c1"][:500] + "N" * 40 + bases["c1"][540:]
    # Soft-masked bases and an ambiguous letter, which is N to basenji.
    in_file = {name: text[:300] + text[300:400].lower() + text[400:] for name, text in bases.items()}
    in_file["c1"] = in_file["c1"][:505] + "r" + in_file["c1"][506:]
    data = folder / "data"
    (data / "tfrecords").mkdir(parents=True)
    fasta = folder / "genome.fa"
    fasta.write_text("".join(f">{name}\n{text}\n" for name, text in in_file.items()))
    rows, bed, statistics = {}, [], {}
    # Every fifth bp is a start; the first window of training reaches 10 bp before its contig, as N.
    starts = iter(rng.permutation(np.arange(0, CONTIGS["c1"] - SEQ_LENGTH, 5)).tolist())
    for split, count in zip(split_names, RECORDS.values(), strict=True):
        rows[split] = []
        for number in range(count):
            chrom, start = (
                ("c2", [-10, 600][number]) if split == split_names[0] and number < 2 else ("c1", next(starts))
            )
            target = rng.gamma(2, 3, (BINS, TRACKS)).astype("<f2")
            rows[split].append((chrom, start, target))
            bed.append(f"{chrom}\t{start + CROP}\t{start + SEQ_LENGTH - CROP}\t{split}\n")
        statistics[f"{split}_seqs"] = count
    tiny = TinyBasenji(data, fasta, bases, rows, indices)
    for split in split_names:
        step = 1 if split == split_names[0] else 2
        for number in range(0, len(rows[split]), step):
            chosen = range(number, min(number + step, len(rows[split])))
            write_records(tiny.file(f"{split}-{number // step}.tfr"), [tiny.record(split, n) for n in chosen])
    statistics |= {"num_targets": TRACKS, "seq_length": SEQ_LENGTH, "pool_width": POOL_WIDTH}
    statistics |= {"crop_bp": CROP, "target_length": BINS} | ({"seq_1hot": True} if indices else {})
    (data / "statistics.json").write_text(json.dumps(statistics))
    (data / "targets.txt").write_text(TARGETS)
    (data / "sequences.bed").write_text("".join(bed))
    return tiny
