"""Crop of the bins at the window's ends, which see too little context to be predicted."""

from typing import Any

import keras

from enformer_keras.model.arguments import check_integer, check_length


@keras.saving.register_keras_serializable(package="enformer_keras")
class TargetLengthCrop1D(keras.layers.Layer):
    """Keep the central ``target_length`` bins.

    Args:
        target_length: Bins to keep. As many are cropped on the left as on the right.
        **kwargs: Arguments of ``keras.layers.Layer``.

    Input shape: ``[batch, bins, channels]``. Output shape: ``[batch, target_length, channels]``.

    Raises:
        ValueError: There are fewer bins than ``target_length``, or an odd number is left over (the reference
            returns one bin too many then), or their number is unknown.

    Source: Enformer, Methods, "Model architecture" (cropping layer).
    """

    def __init__(self, target_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_integer("target_length", target_length)
        self.target_length = target_length

    def build(self, input_shape: tuple[int | None, int, int | None]) -> None:
        """Check that the crop is even and not negative."""
        self.first_bin(input_shape[1])

    def first_bin(self, bins: int | None) -> int:
        """Return the first bin that is kept of so many."""
        bins = check_length(self.name, bins)
        excess = bins - self.target_length
        if excess < 0 or excess % 2:
            raise ValueError(
                f"target_length={self.target_length} cannot be cut from the centre of {bins} bins: "
                f"allowed is any number from {2 - bins % 2} to {bins} that leaves an even number to crop"
            )
        return excess // 2

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Crop ``[batch, bins, channels]`` to ``[batch, target_length, channels]``."""
        start = self.first_bin(inputs.shape[1])
        return inputs[:, start : start + self.target_length]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return ``(batch, target_length, channels)``."""
        return input_shape[0], self.target_length, input_shape[2]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "target_length": self.target_length}
