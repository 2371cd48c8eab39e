"""Sequences of haplotypes, held against bcftools."""

import itertools
import random

import pysam
import pysam.bcftools
import pytest

from enformer_keras.formats.errors import DatasetError
from enformer_keras.formats.haplotypes import Edit, PersonalSequence, PhasedVariants

BASES = "".join(random.Random(1).choices("ACGT", k=400))
HEADER = (
    "##fileformat=VCFv4.3\n##contig=<ID=c1,length=400>\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
)


def write(folder, rows, samples=("s1", "s2"), kind="vcf.gz", name="x"):
    """Rows of position from 1, REF, ALT and genotypes."""
    lines = [f"c1\t{at}\t.\t{ref}\t{alt}\t.\t.\t.\tGT\t" + "\t".join(gts) for at, ref, alt, *gts in rows]
    plain = folder / f"{name}.vcf"
    plain.write_text(HEADER + "\t".join(samples) + "\n" + "".join(f"{line}\n" for line in lines))
    path = folder / f"{name}.{kind}"
    pysam.bcftools.view("-O", "z" if kind == "vcf.gz" else "b", "-o", str(path), str(plain), catch_stdout=False)
    pysam.bcftools.index("-f", str(path), catch_stdout=False)
    return path


def reference(start, end):
    padded = "N" * max(0, -start) + BASES[max(0, start) : max(0, end)]
    return padded + "N" * (end - start - len(padded))


def haplotypes(path, **options):
    with PhasedVariants(path, {"c1": 400}, {}, **options) as file:
        found = file.read("c1", 0, 400, reference)
        sequences = [
            tuple(None if edits is None else PersonalSequence(0, 400, edits, reference).bases for edits in both)
            for both in found
        ]
        return sequences, file.counts


def by_bcftools(folder, path, sample, haplotype):
    fasta = folder / "genome.fa"
    fasta.write_text(f">c1\n{BASES}\n")
    text = pysam.bcftools.consensus("-f", str(fasta), "-H", str(haplotype), "-s", sample, str(path))
    return "".join(text.splitlines()[1:])


def random_rows(seed, genotypes):
    """Alleles of every kind, many of which overlap, or begin where another one ends."""
    rng = random.Random(seed)
    rows, at = [], 0
    while at < 380:
        at += rng.choice([0, 0, 1, 1, 2, 3, 10, 20])
        if at >= 380:
            break
        length = rng.choice([1, 1, 1, 2, 3, 6])
        ref = BASES[at : at + length]
        alts = set()
        while len(alts) < rng.choice([1, 1, 2]):
            kind = rng.randrange(4)
            new = "".join(rng.choices("ACGT", k=rng.choice([1, 2, 4])))
            alt = (ref[0] + new, ref[0], new, new + ref[-1])[kind]
            if alt != ref:
                alts.add(alt)
        rows.append(
            (at + 1, ref, ",".join(sorted(alts)), *(rng.choice(genotypes[: 4 + 5 * len(alts)]) for _ in "ab"))
        )
    return rows


GENOTYPES = ["0|1", "1|0", "1|1", ".|1", "0|0", "1/1", "./.", "1|.", "1", "2|1", "0|2", "2|0", "2", "2/2"]


@pytest.mark.parametrize("kind", ["vcf.gz", "bcf"])
@pytest.mark.parametrize("seed", range(12))
def test_sequences_are_those_of_bcftools(tmp_path, seed, kind):
    rows = random_rows(seed, GENOTYPES)
    path = write(tmp_path, rows, kind=kind)
    sequences, counts = haplotypes(path)
    for (sample, both), number in itertools.product(zip(("s1", "s2"), sequences, strict=True), (1, 2)):
        assert both[number - 1] == by_bcftools(tmp_path, path, sample, number)
        assert both[number - 1] != BASES
    assert counts["alleles that overlap an earlier one of their haplotype, passed over"] > 0


def test_of_overlapping_alleles_the_first_is_taken(tmp_path):
    ref = BASES[99:110]
    other = "A" if BASES[104] != "A" else "C"
    path = write(
        tmp_path,
        [(100, ref, ref[0], "1|0", "0|0"), (105, BASES[104], other, "1|1", "0|1")],
    )
    ((one, two), (three, four)), counts = haplotypes(path)
    assert one == BASES[:100] + BASES[110:]
    assert two == four == BASES[:104] + other + BASES[105:]
    assert three == BASES
    assert counts["alleles that overlap an earlier one of their haplotype, passed over"] == 1


def test_what_is_not_taken_as_it_stands_is_counted(tmp_path):
    base = BASES[49]
    other = "A" if base != "A" else "C"
    rows = [
        (50, base, f"{other},<DEL>", "2|1", "./."),
        (60, BASES[59], "*", "1|0", "0|0"),
        (70, BASES[69], f"{BASES[69]}N", "1|0", "0|0"),
    ]
    ((one, two), (three, four)), counts = haplotypes(write(tmp_path, rows))
    assert two == BASES[:49] + other + BASES[50:]
    assert one == three == four == BASES
    assert {what.partition(",")[0]: count for what, count in counts.items() if count} == {
        "symbolic alleles and other letters": 2,
        "genotypes with missing alleles": 1,
        "alleles *": 1,
    }


def test_where_all_genotypes_are_haploid_there_is_one_haplotype(tmp_path):
    other = "A" if BASES[49] != "A" else "C"
    path = write(tmp_path, [(50, BASES[49], other, "1", "0|1"), (60, BASES[59], BASES[59] * 2, "0", "1")])
    ((one, none), (three, four)), _ = haplotypes(path)
    assert none is None
    assert one == four == BASES[:49] + other + BASES[50:]
    assert len(three) == 401


def test_genotypes_without_a_phase_are_refused_or_skipped(tmp_path):
    other = "A" if BASES[49] != "A" else "C"
    path = write(tmp_path, [(50, BASES[49], other, "0|1", "1/0"), (60, BASES[59], "<DEL>", "./1", "1/1")])
    with pytest.raises(DatasetError, match=r"x\.vcf\.gz: 2 heterozygous .* first one c1:50 of s2; phase them"):
        haplotypes(path)
    ((one, two), (three, four)), counts = haplotypes(path, skip_unphased=True)
    assert one == three == four == BASES
    assert two != BASES
    assert counts["heterozygous genotypes without a phase, taken as the reference"] == 2


def test_samples_are_chosen(tmp_path):
    other = "A" if BASES[49] != "A" else "C"
    path = write(tmp_path, [(50, BASES[49], other, "0|1", "1|0")])
    both, _ = haplotypes(path)
    assert haplotypes(path, samples=["s2"])[0] == both[1:]
    assert haplotypes(path, samples=["s2", "s1"])[0] == both[::-1]
    with pytest.raises(DatasetError, match="has the samples s1, s2; not s3"):
        haplotypes(path, samples=["s2", "s3"])


def test_contigs_go_by_other_names(tmp_path):
    path = write(tmp_path, [(50, BASES[49], BASES[49] * 2, "0|1", "1|0")])
    with PhasedVariants(path, {"chr1": 400}, {"chr1": ("c1",)}) as file:
        assert file.read("chr1", 0, 400, reference)[0][1] == (Edit(49, 50, 50, BASES[49], True, True),)
    with pytest.raises(DatasetError, match=r'none of the genome\'s, c1; name them in .*"chrc1": \["c1"\]'):
        PhasedVariants(path, {"chrc1": 400}, {})
    with PhasedVariants(path, {"c1": 400, "c2": 9}, {}) as file:
        assert file.read("c2", 0, 9, reference) == [((), ())] * 2


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((50, "A" if BASES[49] != "A" else "C", "G", "0|1"), "c1:50: REF is [AC], the genome has"),
        ((50, BASES[49], BASES[49] * 2, "0|1|1"), r"c1:50: genotype '0\|1\|1' is not of one or two of its 2"),
        ((50, BASES[49], BASES[49] * 2, "0|2"), r"c1:50: genotype '0\|2'"),
    ],
)
def test_records_that_are_wrong_are_named(tmp_path, row, problem):
    path = write(tmp_path, [row], samples=["s1"])
    with pytest.raises(DatasetError, match=rf"x\.vcf\.gz: {problem}"):
        haplotypes(path)


def test_files_that_are_none_are_named(tmp_path):
    path = write(tmp_path, [(50, BASES[49], BASES[49] * 2, "0|1", "1|0")])
    for name, problem in (
        ("no.vcf.gz", "no such file"),
        ("x.vcf", r"has no index; compress it by bgzip and run `bcftools index`"),
    ):
        with pytest.raises(DatasetError, match=rf"{name}: {problem}"):
            PhasedVariants(tmp_path / name, {"c1": 400}, {})
    (tmp_path / "x.txt").write_text("no variants\n")
    with pytest.raises(DatasetError, match=r"x\.txt: cannot be read"):
        PhasedVariants(tmp_path / "x.txt", {"c1": 400}, {})
    path.with_name("x.vcf.gz.csi").unlink()
    with pytest.raises(DatasetError, match=r"x\.vcf\.gz: has no index"):
        PhasedVariants(path, {"c1": 400}, {})
    (tmp_path / "x.vcf").write_text(HEADER.partition("\tFORMAT")[0] + "\n")
    pysam.tabix_index(str(tmp_path / "x.vcf"), preset="vcf", force=True)
    with pytest.raises(DatasetError, match=r"x\.vcf\.gz: has no samples"):
        PhasedVariants(path, {"c1": 400}, {})


def edit(start, end, bases):
    return Edit(start, start, end, bases, False, len(bases) > end - start)


def test_where_positions_come_to_stand():
    edits = [edit(20, 20, "ACGT"), edit(30, 35, ""), edit(40, 44, "TT"), edit(60, 60, "A")]
    sequence = PersonalSequence(10, 100, edits, reference)
    assert sequence.bases == (
        BASES[10:20] + "ACGT" + BASES[20:30] + BASES[35:40] + "TT" + BASES[44:60] + "A" + BASES[60:100]
    )
    for position, index in ((10, 0), (19, 9), (20, 14), (35, 24), (39, 28), (44, 31), (60, 48), (99, 87)):
        for forward in (True, False):
            assert sequence.base(position, forward=forward) == index
        assert sequence.bases[index] == BASES[position]
    for position in range(30, 35):
        assert sequence.base(position) == 24
        assert sequence.base(position, forward=False) == 23
    assert [sequence.base(position) for position in range(40, 44)] == [29, 30, 30, 30]
    assert [sequence.base(position, forward=False) for position in range(40, 44)] == [29, 29, 29, 30]
    assert sequence.stretch(10, 20) == (0, 10)
    assert sequence.stretch(20, 30) == (14, 24)
    assert sequence.stretch(15, 25) == (5, 19)
    assert sequence.stretch(31, 34) == (24, 24)
    assert sequence.stretch(25, 40) == (19, 29)
    assert sequence.stretch(41, 50) == (30, 37)
    assert sequence.stretch(44, 60) == (31, 47)


def test_edits_at_its_ends_make_a_stretch_longer():
    sequence = PersonalSequence(32, 50, [edit(5, 6, "A"), edit(30, 35, ""), edit(48, 60, "C")], reference)
    assert sequence.bases == BASES[35:48] + "C"
    assert sequence.base(40) == 5
