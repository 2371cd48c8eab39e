"""Enformer, its layers and presets."""
