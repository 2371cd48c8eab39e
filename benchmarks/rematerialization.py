"""Memory and time of a training step with parts of the model rematerialized.

    python benchmarks/rematerialization.py [--tpu [--sequence-length 196608 --channels 1536 --layers 11]]

measures processes on this machine as `model.py` does: peak MiB over three steps after the compiler's memory was
handed back, and the median time of a step. With ``--tpu`` it compiles the step in mixed_bfloat16 for one TPU v4
chip instead, which needs JAX and libtpu but no TPU, and prints what XLA counts: temporary bytes, operations and
bytes moved. JAX is left out on this machine: on CPUs, XLA schedules for concurrency at any cost in memory.
"""

import argparse
import os
import statistics
import time
from typing import Any

PARTS = ("", "transformer", "tower", "stem tower transformer")
BATCH_SIZE = 4
BACKENDS = ("tensorflow:1", "tensorflow:0", "torch:0")


def on_this_machine() -> None:
    """Print a row for each backend and choice of parts."""
    from model import Contender

    print("| backend | rematerialized | peak of a step, MiB | step, ms |\n|---|---|---|---|")
    for backend in BACKENDS:
        for parts in PARTS:
            os.environ.update(REMATERIALIZED=parts, BATCH_SIZE=str(BATCH_SIZE))
            contender = Contender(f"ours-direct:{backend}")
            contender.ask("train")
            contender.ask("trim")
            seconds = [contender.ask("train") for _ in range(3)]
            peak = contender.ask("memory")["peak"]
            contender.close()
            name, xla = backend.split(":")
            row = (f"{name}{' with XLA' * int(xla)}", parts or "nothing")
            print(
                f"| {row[0]} | {row[1]} | {peak:.0f} | {statistics.median(seconds) * 1e3:.0f} |",
                flush=True,
            )


def for_a_tpu(sequence_length: int, channels: int, layers: int) -> None:
    """Print a row for each choice of parts, by XLA's count for one TPU v4 chip."""
    os.environ.update(KERAS_BACKEND="jax", TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu")
    import jax
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding
    from keras import ops

    from enformer_keras import Enformer

    chip = topologies.get_topology_desc(platform="tpu", topology_name="v4:2x2x1").devices[0]
    sharding = SingleDeviceSharding(chip)
    print("| rematerialized | temporary, MiB | TFLOP | GB moved | compilation, s |\n|---|---|---|---|---|")
    for parts in PARTS:
        model = Enformer(
            channels=channels,
            num_transformer_layers=layers,
            sequence_length=sequence_length,
            target_length=None,
            rematerialized=parts.split(),
            dtype="mixed_bfloat16",
        )
        trainable, rest = (
            [jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=sharding) for v in kind]
            for kind in (model.trainable_variables, model.non_trainable_variables)
        )
        x = jax.ShapeDtypeStruct((1, sequence_length, 4), "float32", sharding=sharding)

        def loss(
            trainable: list[Any], rest: list[Any], x: Any, model: Enformer = model
        ) -> tuple[Any, list[Any]]:
            outputs, rest = model.stateless_call(trainable, rest, x, training=True)
            return sum(ops.mean(output) for output in outputs.values()), rest

        start = time.perf_counter()
        step = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(trainable, rest, x).compile()
        seconds = time.perf_counter() - start
        cost, memory = step.cost_analysis(), step.memory_analysis()
        if cost is None or memory is None:
            raise RuntimeError("this version of JAX says nothing of what a compiled step takes")
        print(
            f"| {parts or 'nothing'} | {memory.temp_size_in_bytes / 2**20:.0f} "
            f"| {cost['flops'] / 1e12:.3f} | {cost['bytes accessed'] / 1e9:.2f} | {seconds:.0f} |",
            flush=True,
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tpu", action="store_true", help="compile for a TPU v4 chip instead of running here")
    parser.add_argument("--sequence-length", type=int, default=32_768, help="bp, with --tpu")
    parser.add_argument("--channels", type=int, default=384, help="with --tpu")
    parser.add_argument("--layers", type=int, default=2, help="transformer blocks, with --tpu")
    arguments = parser.parse_args()
    if arguments.tpu:
        for_a_tpu(arguments.sequence_length, arguments.channels, arguments.layers)
    else:
        on_this_machine()


if __name__ == "__main__":
    main()
