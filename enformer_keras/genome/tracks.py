"""Where these stood before there were rooms; what imports them from here goes on to work."""

from enformer_keras.datasets.tracks import Genome, Track, TrackReader, read_track_table

__all__ = ["Genome", "Track", "TrackReader", "read_track_table"]
