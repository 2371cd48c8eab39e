"""Memory and time of a training step with parts of the model rematerialized.

    python benchmarks/rematerialization.py

measures processes on this machine as `model.py` does: peak MiB over three steps after the compiler's memory was
handed back, and the median time of a step. JAX is left out: on CPUs, XLA schedules for concurrency at any cost
in memory. What rematerialization saves on TPUs, `tpu.py` says.
"""

import os
import statistics

from model import Contender

PARTS = ("", "transformer", "tower", "stem tower transformer")
BATCH_SIZE = 4
BACKENDS = ("tensorflow:1", "tensorflow:0", "torch:0")


def main() -> None:
    """Print a row for each backend and choice of parts."""
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


if __name__ == "__main__":
    main()
