import pytest

from enformer_keras.datasets.dataset import fingerprint_of, load_dataset, load_datasets, load_description
from enformer_keras.formats.errors import DatasetError
from tests.datasets.tiny_genome import describe_two_organisms


def test_shared_fields_hold_for_each_organism_that_does_not_say_otherwise(tiny):
    one = load_dataset(tiny.path)
    describe_two_organisms(tiny)
    first, second = load_datasets(tiny.path)
    assert first == load_dataset(tiny.path, "tiny")
    assert (first.description, first.tracks, first.contig_lengths) == (
        one.description,
        one.tracks,
        one.contig_lengths,
    )
    assert second.description.organism == "other"
    assert [track.identifier for track in second.tracks] == ["dense"]
    assert second.description.splits.contigs == {"train": ("c1",), "valid": ("c2",), "test": ("c3",)}
    assert second.description.strides == first.description.strides
    assert {window.organism for window in second.plan().windows} == {"other"}
    assert fingerprint_of([first]) == first.fingerprint() != fingerprint_of([first, second])


@pytest.mark.parametrize(
    ("fields", "own", "words"),
    [
        ({"organisms": ["tiny"]}, {}, ["organisms: must map"]),
        ({"organism": "tiny"}, {}, ["organism and organisms are both given"]),
        ({}, {"window_length": 256}, ["organisms.other: window_length is the same for all"]),
        ({}, {"snap": 0}, ["organisms.other: snap", "greater than 0"]),
        (
            {},
            {"splits": {"contigs": {"train": ["c1"], "dev": ["c2"]}}, "stride": 32},
            ["organisms.other: splits are ['dev', 'train']", "name the same ones"],
        ),
        ({}, {"fasta": "none.fa"}, ["none.fa", "no such FASTA"]),
        ({}, {"fasta": None}, ["organisms.other: fasta: is empty; give it a value"]),
        ({"organisms": {38: {}}}, {}, ["organisms.38: organism: 38 is not read as text; put it in quotes"]),
    ],
)
def test_what_organisms_cannot_be(tiny, fields, own, words):
    describe_two_organisms(tiny, **own)
    tiny.edit(**fields)
    with pytest.raises(DatasetError) as caught:
        load_datasets(tiny.path)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("organism", "words"), [(None, "tiny, other, which one is not said"), ("cow", "not cow")]
)
def test_one_of_several_organisms_must_be_named(tiny, organism, words):
    describe_two_organisms(tiny)
    with pytest.raises(DatasetError, match=words):
        load_description(tiny.path, organism)
