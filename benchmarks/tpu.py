"""What XLA says of the model on TPUs, without one: memory, operations, bytes, time, and what chips exchange.

    python benchmarks/tpu.py --step train --chip v4 v5e --chips 1 4 8 [--layers 2 --sequence-length 49152]

compiles the step for chips that are not there, prints a row for each and, with ``--kinds``, the bytes by kind
of instruction. It needs JAX and libtpu on any x86-64 CPU, and minutes to compile the full size. libtpu serves
one process at a time. Nothing runs: that a chip reaches the times is not said.
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

from hlo import Program

DTYPE = "mixed_bfloat16"
# Tried in this order by `--fit`; by time, what costs least first.
REMATERIALIZED = ("", "transformer", "tower", "stem tower transformer")


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a chip can do at most.

    Attributes:
        flops: Operations in bfloat16, 1/s.
        bandwidth: Of its memory, B/s.
        memory: B.
        topologies: Names of libtpu's by the number of chips that they must have at least.
    """

    flops: float
    bandwidth: float
    memory: float
    topologies: dict[int, str]


# Peak figures of Google's pages on each chip, "System architecture": docs.cloud.google.com/tpu/docs/v5e,
# v5p-training, v6e (read in 2026). Those of v4 are as others cite Google's, whose own page was not read.
CHIPS = {
    "v4": Chip(275e12, 1.2e12, 32 * 2**30, {4: "v4:2x2x1", 8: "v4:2x2x2"}),
    "v5e": Chip(197e12, 0.819e12, 16e9, {4: "v5e:2x2", 8: "v5e:2x4"}),
    "v5p": Chip(459e12, 2.765e12, 95e9, {4: "v5p:2x2x1", 8: "v5p:2x2x2"}),
    "v6e": Chip(918e12, 1.638e12, 32e9, {4: "v6e:2x2", 8: "v6e:2x4"}),
}


@dataclasses.dataclass
class Compiled:
    """What XLA says of a compiled step, of one chip.

    Attributes:
        memory: B of arguments, results and what is kept between; ``None`` if it does not fit.
        temporary: B of the latter.
        operations: Floating-point operations.
        moved: B read and written, each use of an operand counted.
        estimate: s; ``None`` where XLA has none.
        collectives: By their name, how often and B that a chip gives.
        kinds: B, instructions and cycles by kind.
        seconds: That compiling took.
        refusal: What the compiler said where it does not fit.
    """

    memory: float | None = None
    temporary: float = 0.0
    operations: float = 0.0
    moved: float = 0.0
    estimate: float | None = None
    collectives: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    kinds: dict[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    refusal: str = ""


def the_model(arguments: argparse.Namespace, rematerialized: str) -> Any:
    """The model that the command line asks for."""
    from enformer_keras import Enformer

    changes = {"sequence_length": arguments.sequence_length, "num_transformer_layers": arguments.layers}
    changes = {name: value for name, value in changes.items() if value is not None}
    if arguments.sequence_length is not None:
        changes["target_length"] = None
    return Enformer.from_preset(
        arguments.preset,
        **changes,
        rematerialized=rematerialized.split(),
        tower_pieces=arguments.tower_pieces,
        dtype=DTYPE,
    )


def a_step(model: Any, name: str) -> tuple[Any, list[list[Any]], list[tuple[int, ...]]]:
    """The function to compile.

    Args:
        model: An `Enformer`.
        name: ``"forward"`` or ``"train"``: Poisson loss of all heads, gradients, Adam.

    Returns:
        A function of lists of arrays, one for each kind of state, and of sequences and targets; the state's
        variables; and shapes of sequences and targets without the batch.
    """
    import jax
    import keras

    sequence = tuple(model.input.shape[1:])
    if name == "forward":

        def forward(trainable: Any, rest: Any, x: Any) -> Any:
            return model.stateless_call(trainable, rest, x, training=False)[0]

        return forward, [model.trainable_variables, model.non_trainable_variables], [sequence]
    adam, poisson = keras.optimizers.Adam(5e-4), keras.losses.Poisson()
    adam.build(model.trainable_variables)
    heads = sorted(model.heads)

    def loss(trainable: Any, rest: Any, x: Any, targets: Any) -> tuple[Any, Any]:
        outputs, rest = model.stateless_call(trainable, rest, x, training=True)
        return sum(poisson(y, outputs[head]) for head, y in zip(heads, targets, strict=True)), rest

    def train(trainable: Any, rest: Any, optimizer: Any, x: Any, *targets: Any) -> Any:
        (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, rest, x, targets)
        trainable, optimizer = adam.stateless_apply(optimizer, gradients, trainable)
        return trainable, rest, optimizer, value

    state = [model.trainable_variables, model.non_trainable_variables, adam.variables]
    return train, state, [sequence, *(tuple(model.output[head].shape[1:]) for head in heads)]


def compile_for(chip: str, chips: int, arguments: argparse.Namespace, rematerialized: str) -> Compiled:
    """Compile a step for chips that each have their share of the batch and all of the state.

    Args:
        chip: One of `CHIPS`.
        chips: 1, 4 or 8.
        arguments: The command line.
        rematerialized: Parts of the model, with spaces between.
    """
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    topology = next(name for size, name in CHIPS[chip].topologies.items() if size >= chips)
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[:chips]
    if len(devices) < chips:
        raise RuntimeError(f"{topology} has {len(devices)} chips in this libtpu, not {chips}")
    mesh = Mesh(np.array(devices), ("batch",))
    whole, shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
    step, state, examples = a_step(the_model(arguments, rematerialized), arguments.step)

    def described(shape: Any, dtype: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=sharding)

    kept = [[described(v.shape, v.dtype, whole) for v in kind] for kind in state]
    batch = [described((chips * arguments.batch_size, *shape), "float32", shared) for shape in examples]
    trained = arguments.step == "train"
    jitted = jax.jit(
        step,
        donate_argnums=tuple(range(len(state))) if trained else (),
        out_shardings=whole if trained else shared,
    )
    start = time.perf_counter()
    try:
        compiled = jitted.lower(*kept, *batch).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled(seconds=time.perf_counter() - start, refusal=str(error).splitlines()[0])
    seconds = time.perf_counter() - start
    if arguments.text is not None:
        name = (
            f"{chip}-{chips}-{arguments.step}-{arguments.tower_pieces}-{rematerialized.replace(' ', '-')}.txt"
        )
        arguments.text.mkdir(parents=True, exist_ok=True)
        (arguments.text / name).write_text(compiled.as_text())
    return _what_is_said(compiled, seconds)


def _what_is_said(compiled: Any, seconds: float) -> Compiled:
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    if cost is None or memory is None:
        raise RuntimeError("this version of JAX says nothing of what a compiled step takes")
    program = Program(compiled.as_text())
    # XLA has minus a second for each custom call, whose cost it does not know; libtpu's only name buffers.
    estimate = cost.get("optimal_seconds", 0.0) + program.count("custom-call")
    return Compiled(
        memory=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        operations=cost["flops"],
        moved=cost["bytes accessed"],
        estimate=estimate if estimate > 0 else None,
        collectives={name: (all_.instructions, all_.bytes) for name, all_ in program.collectives().items()},
        kinds={
            kind: (share.instructions, share.bytes, share.cycles) for kind, share in program.by_kind().items()
        },
        seconds=seconds,
    )


def row_of(chip: str, chips: int, rematerialized: str, found: Compiled) -> str:
    """A row of the table, in Markdown."""
    peak = CHIPS[chip]
    first = f"| {chip} | {chips} | {rematerialized or 'nothing'} "
    if found.memory is None:
        return f"{first}| does not fit: {found.refusal[:160]} | | | | | | | | {found.seconds:.0f} |"
    exchanged = ", ".join(
        f"{count} {name} {size / 1e9:.3g}" for name, (count, size) in found.collectives.items()
    )
    fits = "" if found.memory <= peak.memory else " (too much)"
    return (
        f"{first}| {found.memory / 1e9:.3g} of {peak.memory / 1e9:.0f}{fits} | {found.temporary / 1e9:.3g} "
        f"| {found.operations / 1e12:.4g} | {found.moved / 1e9:.4g} "
        f"| {found.operations / peak.flops * 1e3:.3g} | {found.moved / peak.bandwidth * 1e3:.3g} "
        f"| {'none' if found.estimate is None else f'{found.estimate * 1e3:.4g}'} "
        f"| {exchanged or 'none'} | {found.seconds:.0f} |"
    )


HEADING = (
    "| chip | chips | rematerialized | memory a chip, GB | of it temporary | TFLOP a chip | GB moved "
    "| ms by the multiply | ms by memory | XLA's estimate, ms | collectives, GB | compilation, s |\n"
    + "|---" * 12
    + "|"
)


def table_of_kinds(found: Compiled) -> str:
    """Bytes by kind, in Markdown. An operand counts once, however often an instruction uses it."""
    lines = ["| kind | instructions | GB | million cycles by XLA |", "|---|---|---|---|"]
    lines += [
        f"| {kind} | {count} | {size / 1e9:.2f} | {cycles / 1e6:.1f} |"
        for kind, (count, size, cycles) in found.kinds.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Compile and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", choices=("forward", "train"), default="forward")
    parser.add_argument("--chip", nargs="+", choices=CHIPS, default=["v4"])
    parser.add_argument("--chips", nargs="+", type=int, choices=(1, 4, 8), default=[1])
    parser.add_argument("--batch-size", type=int, default=1, help="of each chip")
    parser.add_argument("--preset", default="paper", help="of Enformer")
    parser.add_argument(
        "--sequence-length", type=int, help="bp, in place of the preset's; all bins are predicted then"
    )
    parser.add_argument("--layers", type=int, help="transformer blocks, in place of the preset's")
    parser.add_argument("--tower-pieces", type=int, default=8, help="1: as on CPUs")
    parser.add_argument("--rematerialized", default="", help='parts, such as "stem tower transformer"')
    parser.add_argument("--fit", action="store_true", help="rematerialize the least that makes it fit")
    parser.add_argument("--kinds", action="store_true", help="print bytes by kind too")
    parser.add_argument("--json", type=Path, help="write every figure here, as they come")
    parser.add_argument("--text", type=Path, help="folder for the compiled programs' text")
    arguments = parser.parse_args()
    if importlib.util.find_spec("libtpu") is None:
        parser.exit(2, "libtpu is missing: pip install libtpu, into an environment with JAX\n")
    os.environ.update(KERAS_BACKEND="jax", TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "libtpu", "keras"))
    print(
        f"{arguments.step}, preset {arguments.preset}, {arguments.sequence_length or 'its'} bp, "
        f"{'its' if arguments.layers is None else arguments.layers} blocks, "
        f"batch {arguments.batch_size} a chip, tower_pieces={arguments.tower_pieces}, {DTYPE}; {versions}\n\n"
        f"{HEADING}",
        flush=True,
    )
    results = []
    for chip in arguments.chip:
        for chips in arguments.chips:
            for rematerialized in REMATERIALIZED if arguments.fit else [arguments.rematerialized]:
                found = compile_for(chip, chips, arguments, rematerialized)
                print(row_of(chip, chips, rematerialized, found), flush=True)
                results.append(
                    {
                        "chip": chip,
                        "chips": chips,
                        "rematerialized": rematerialized,
                        **dataclasses.asdict(found),
                    }
                )
                if arguments.json:
                    arguments.json.write_text(json.dumps({"versions": versions, "results": results}, indent=1))
                if arguments.kinds and found.kinds:
                    print(f"\n{table_of_kinds(found)}\n", flush=True)
                if found.memory is not None and found.memory <= CHIPS[chip].memory:
                    break


if __name__ == "__main__":
    main()
