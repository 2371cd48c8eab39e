"""Where these stood before there were rooms; what imports them from here goes on to work."""

from enformer_keras.datasets.track_reader import TrackReader
from enformer_keras.datasets.tracks import Track, read_track_table
from enformer_keras.formats.fasta import Genome

__all__ = ["Genome", "Track", "TrackReader", "read_track_table"]
