"""Asking trained models: predictions of windows, effects of variants."""

from enformer_keras.prediction.alleles import ReferencePolicy, Status
from enformer_keras.prediction.genes import GenePredictions, GeneWindow
from enformer_keras.prediction.haplotypes import LocusHaplotypes
from enformer_keras.prediction.opening import open_model
from enformer_keras.prediction.predictor import PredictedTrack, Predictor, VariantScores
from enformer_keras.prediction.statistics import FORMULAS
from enformer_keras.prediction.windows import Frame

__all__ = [
    "FORMULAS",
    "Frame",
    "GenePredictions",
    "GeneWindow",
    "LocusHaplotypes",
    "PredictedTrack",
    "Predictor",
    "ReferencePolicy",
    "Status",
    "VariantScores",
    "open_model",
]
