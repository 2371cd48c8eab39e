"""The tiny models and examples, written once for all tests of the folder."""

import numpy as np
import pytest

from tests.evaluator import tiny_model


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    return tiny_model.write_examples(tmp_path_factory.mktemp("evaluator") / "examples")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Paths of SavedModels by what is special about them."""
    folder = tmp_path_factory.mktemp("evaluator_models")
    one_track_nan = tiny_model.TRUTH.copy()
    one_track_nan[:, 1] = np.nan
    one_track_constant = tiny_model.TRUTH.copy()
    one_track_constant[:, 1] = 0.0
    weights = {
        "good": tiny_model.TRUTH,
        "weaker": tiny_model.WEAKER,
        "nan": one_track_nan,
        "constant": one_track_constant,
    }
    return {name: tiny_model.write_saved_model(folder / name, w) for name, w in weights.items()}
