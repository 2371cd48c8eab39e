"""Metrics and thresholds by which TFX's Evaluator judges a model of genomic tracks."""
