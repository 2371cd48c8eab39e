"""Pearson's correlation and R² of every track, as metrics of training and evaluation."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from enformer_keras.model.arguments import check_integer, check_shapes


class _TrackMetric(keras.metrics.Metric):
    """Moments of two quantities per track, merged batch by batch.

    Sums of squares about zero lose all their digits in float32 on coverage with a mean far from zero, so the
    moments are centred and merged by the pairwise formulas of Chan, Golub and LeVeque (1979). A subclass says
    which two quantities (`_pair`) and what follows from their moments (`_values`).
    """

    def __init__(self, num_tracks: int | None = None, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32")
        check_integer("num_tracks", num_tracks, optional=True)  # None: to be found in the first batch
        self.num_tracks = num_tracks
        self._synchronized = keras.backend.backend() == "tensorflow"
        if num_tracks is not None:
            self._build(num_tracks)

    def _build(self, num_tracks: int) -> None:
        """Make the state: count, means, and sums of squares and products about the means."""
        # Each replica holds the moments of all replicas, so reading must neither add nor average them.
        self.count, self.means, self.products = (
            self.add_variable(shape, "zeros", "float32", aggregation="only_first_replica", name=name)
            for name, shape in (("count", ()), ("means", (2, num_tracks)), ("products", (3, num_tracks)))
        )

    def update_state(
        self,
        y_true: keras.KerasTensor,
        y_pred: keras.KerasTensor,
        sample_weight: keras.KerasTensor | None = None,
    ) -> None:
        """Take in a batch; call it on all replicas alike.

        Args:
            y_true: Targets [..., tracks], of any real type.
            y_pred: Predictions of the same shape, of any real type.
            sample_weight: Not supported.

        Raises:
            ValueError: The shapes differ, or the number of tracks does from that of earlier batches, or there
                are weights.
        """
        kind = type(self).__name__
        if sample_weight is not None:
            raise ValueError(f"{kind} takes no sample weights: list it in `metrics`, not in `weighted_metrics`")
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        check_shapes(kind, y_true, y_pred)
        num_tracks = y_pred.shape[-1]
        if not self.variables:
            self._build(num_tracks)
        elif num_tracks != self.means.shape[-1]:
            raise ValueError(f"{kind} of {self.means.shape[-1]} tracks was given {num_tracks}")

        # Half precision would keep three digits of a sum.
        y_true, y_pred = (ops.cast(ops.stop_gradient(y), "float32") for y in (y_true, y_pred))
        pair = self._pair(ops.reshape(y_true, (-1, num_tracks)), ops.reshape(y_pred, (-1, num_tracks)))
        # Measured from the first position, a constant track has deviations of exactly zero; measured from a
        # rounded mean it would have a tiny variance, and with it a correlation made of rounding errors.
        _, origin = self._mean_of_the_batch([x[:1] for x in pair])
        count, shift = self._mean_of_the_batch([x - origin[i] for i, x in enumerate(pair)])
        means = origin + shift
        _, products = self._mean_of_the_batch(_products([x - means[i] for i, x in enumerate(pair)]))
        self._merge(count, means, count * products)

    def _mean_of_the_batch(
        self, values: Sequence[keras.KerasTensor]
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Mean of each [positions, tracks] over all replicas, which may hold different numbers of positions.

        Returns:
            Their number of positions divided by that of the replicas, a scale that no result depends on, and
            the means [values, tracks].
        """
        sums = ops.stack([ops.sum(x, axis=0) for x in values])
        count = ops.cast(ops.shape(values[0])[0], "float32")
        if self._synchronized:
            # Keras's all-reduce; the other backends have the whole batch in one array.
            local = ops.concatenate([ops.reshape(sums, (-1,)), ops.reshape(count, (1,))])
            across, _ = ops.moments(local[None], axes=[0], synchronized=True)
            sums, count = ops.reshape(across[:-1], sums.shape), across[-1]
        return count, ops.divide_no_nan(sums, count)

    def _merge(self, count: keras.KerasTensor, means: keras.KerasTensor, products: keras.KerasTensor) -> None:
        total = self.count + count
        share = ops.divide_no_nan(count, total)
        delta = means - ops.convert_to_tensor(self.means)
        between = ops.stack(_products([delta[0], delta[1]]))
        self.products.assign(self.products + products + self.count * share * between)
        self.means.assign(self.means + share * delta)
        self.count.assign(total)

    def merge_state(self, metrics: Iterable["_TrackMetric"]) -> None:
        """Take in what other metrics have seen.

        Args:
            metrics: Metrics of the same class and number of tracks, updated on as many replicas.

        Raises:
            ValueError: One is of another class or number of tracks.
        """
        for metric in metrics:
            if type(metric) is not type(self):
                raise ValueError(f"cannot merge {type(metric).__name__} into {type(self).__name__}")
            if not metric.variables:
                continue
            if not self.variables:
                self._build(metric.means.shape[-1])
            if metric.means.shape != self.means.shape:
                raise ValueError(f"cannot merge {metric.means.shape[-1]} tracks into {self.means.shape[-1]}")
            self._merge(*(ops.convert_to_tensor(variable) for variable in metric.variables))

    def per_track(self) -> keras.KerasTensor:
        """Return the figure of each track, float32 [tracks], NaN where it is undefined.

        Raises:
            ValueError: The number of tracks is not known yet.
        """
        if not self.variables:
            raise ValueError(f"{type(self).__name__} has no tracks before its first batch: give it num_tracks")
        values, defined = self._values()
        return ops.where(defined, values, float("nan"))

    def result(self) -> keras.KerasTensor:
        """Return the mean over the tracks whose figure is defined, a float32 scalar; NaN if there is none."""
        if not self.variables:
            return ops.convert_to_tensor(float("nan"), "float32")
        values, defined = self._values()
        return ops.sum(ops.where(defined, values, 0.0)) / ops.sum(ops.cast(defined, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"num_tracks": self.num_tracks, "name": self.name}

    def _pair(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return the two quantities [positions, tracks] whose moments are kept."""
        raise NotImplementedError

    def _values(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return the figure [tracks] and whether it is defined [tracks]."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="enformer_keras")
class PearsonR(_TrackMetric):
    """Pearson's correlation of every track over all positions seen; the mean over tracks.

    A track whose target or prediction is constant has no correlation: `per_track()` gives NaN for it and
    `result()` leaves it out. A track with NaN or infinite values is not left out: it makes `result()` NaN.

    Args:
        num_tracks: Number of tracks; ``None`` takes that of the first batch.
        name: Name in the logs.

    Shapes: targets and predictions [..., tracks]; all axes but the last are pooled.

    Source: ``PearsonR`` of the authors' ``enformer-training.ipynb``, which keeps raw sums.

    Example:
        >>> model.compile("adam", "poisson", metrics={head: [PearsonR()] for head in model.heads})
    """

    def __init__(self, num_tracks: int | None = None, name: str = "pearson_r") -> None:
        super().__init__(num_tracks, name)

    def _pair(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        return y_true, y_pred

    def _values(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        squares_true, squares_pred, products = (self.products[i] for i in range(3))
        # Two square roots: the product of two large sums could overflow.
        r = ops.divide_no_nan(products, ops.sqrt(squares_true) * ops.sqrt(squares_pred))
        return ops.clip(r, -1.0, 1.0), ops.logical_and(squares_true != 0, squares_pred != 0)


@keras.saving.register_keras_serializable(package="enformer_keras")
class R2(_TrackMetric):
    """Coefficient of determination of every track over all positions seen; the mean over tracks.

    It is ``1 - SS_res / SS_tot``, with ``SS_tot`` about the target's mean over all positions. A track whose
    target is constant has none: `per_track()` gives NaN for it and `result()` leaves it out. A track with NaN
    or infinite values is not left out: it makes `result()` NaN.

    Args:
        num_tracks: Number of tracks; ``None`` takes that of the first batch.
        name: Name in the logs.

    Shapes: targets and predictions [..., tracks]; all axes but the last are pooled.

    Source: ``R2`` of the authors' ``enformer-training.ipynb``, which keeps raw sums.
    """

    def __init__(self, num_tracks: int | None = None, name: str = "r2") -> None:
        super().__init__(num_tracks, name)

    def _pair(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        # From the moments of the residual, squares only add; from those of the prediction they would cancel.
        return y_true, y_true - y_pred

    def _values(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        total, scatter, bias = self.products[0], self.products[1], self.means[1]
        residual = scatter + self.count * bias * bias
        return 1.0 - ops.divide_no_nan(residual, total), total != 0


def _products(pair: Sequence[keras.KerasTensor]) -> list[keras.KerasTensor]:
    """Squares of both and their product."""
    a, b = pair
    return [a * a, b * b, a * b]
