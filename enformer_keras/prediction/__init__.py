"""Asking trained models: predictions, effects of variants, contributions, genes, haplotypes; and pictures."""

from enformer_keras.prediction.alleles import ReferencePolicy, Status
from enformer_keras.prediction.card import ModelCard
from enformer_keras.prediction.contributions import METHODS, Contributions
from enformer_keras.prediction.gene_windows import GeneWindow
from enformer_keras.prediction.genes import GenePredictions
from enformer_keras.prediction.haplotypes import LocusHaplotypes
from enformer_keras.prediction.locus_plot import plot_locus
from enformer_keras.prediction.logo_plot import plot_logo
from enformer_keras.prediction.mutagenesis import Mutagenesis
from enformer_keras.prediction.opening import open_heads, open_model
from enformer_keras.prediction.predictor import PredictedTrack, Predictor, VariantPrediction, VariantScores
from enformer_keras.prediction.statistics import EXPLAINED, FORMULAS
from enformer_keras.prediction.transformation import Transformation
from enformer_keras.prediction.windows import Frame

__all__ = [
    "EXPLAINED",
    "FORMULAS",
    "METHODS",
    "Contributions",
    "Frame",
    "GenePredictions",
    "GeneWindow",
    "LocusHaplotypes",
    "ModelCard",
    "Mutagenesis",
    "PredictedTrack",
    "Predictor",
    "ReferencePolicy",
    "Status",
    "Transformation",
    "VariantPrediction",
    "VariantScores",
    "open_heads",
    "open_model",
    "plot_locus",
    "plot_logo",
]
