"""The model on one GPU: its rates, memory and numbers, beside the card's own rates and enformer-pytorch.

    python benchmarks/accelerator.py [--json FILE] [--minutes 8] [--resume]

KERAS_BACKEND says on what this project runs: jax (the default) or tensorflow. Every figure is written to the
file as soon as it is there, and printed; a run that is cut off keeps what it had, and one with ``--resume``
goes on from it. Rows come by importance; those for which there is no time are named at the end. A row that does
not fit into the device's memory, or that does not compile, says so in place of its figures.

- The card: its driver, and what it multiplies and copies in a second, by the same library in the same run.
- Golden data: the largest difference from the reference's outputs, as a share of the largest of them; float32
  is computed without TF32, and must be below 1e-4.
- Forward passes and training steps (Poisson loss of all heads, Adam, clipping by the global norm), weights and
  data on the device: batches of one window, and of as many as fit, by powers of two; with and without
  rematerialization of all blocks. Share: of the measured rate in that precision, by the operations that the
  sizes say (`operations.py`).
- Scoring, one strand: all substitutions of neighbouring bases (ism), SNVs 300 bp apart (dense), SNVs with
  windows of their own (isolated), as `scoring.py` does, with reuse of stem and tower; error: the largest
  difference from full passes. enformer-pytorch predicts the windows of REF and ALT.
- enformer-pytorch by torch.compile, in bfloat16 by autocast, in a process of its own: in turns with this
  project where both are measured together, else in a process that has the device to itself.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from accelerator_process import StoppedError, TimeIsUpError, Worker
from accelerator_rows import SIDES, Row, is_measured, one_line, ratios, step_row, table
from operations import Sizes

GOLDEN_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a run is.

    Attributes:
        model: sizes of the model.
        multiplied: rows and columns of the matrices that are multiplied.
        copied: bytes of the array that is copied.
        seconds: that a figure is measured for, at least, in each turn.
        most: windows of the largest batch that is tried.
        alleles: that are scored by kind.
        scored: windows of a batch in scoring.
    """

    model: Sizes
    multiplied: int
    copied: int
    seconds: float
    most: int
    alleles: dict[str, int]
    scored: int


SIZES = {
    "full": Size(
        Sizes(1536, 11, 8, 196_608, 896, {"human": 5313, "mouse": 1643}),
        8192,
        2**31,
        0.5,
        128,
        {"ism": 600, "dense": 300, "isolated": 48},
        8,
    ),
    # For trying it out: minutes on two cores.
    "tiny": Size(
        Sizes(48, 1, 2, 4096, 16, {"human": 7, "mouse": 3}, key_size=8, divisible_by=8),
        256,
        2**20,
        0.01,
        2,
        {"ism": 6, "dense": 6, "isolated": 4},
        2,
    ),
}


class Run:
    """Measures, by stages, and keeps what it has found.

    Args:
        name: of the size.
        arguments: of the command.
    """

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name, self.size = name, SIZES[name]
        self._file: Path | None = arguments.json
        self._memory = None if arguments.memory is None else int(arguments.memory * 2**30)
        self._pythons = {"ours": sys.executable, "peer": arguments.peer_python or sys.executable}
        self._minutes = arguments.minutes
        self._deadline = float("inf")
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self.rows: dict[str, Row] = {}
        self.left_out: dict[str, str] = {}
        # A side that is not there is asked once.
        self._absent: dict[str, str] = {}
        self.finished = False
        if arguments.resume and self._file is not None and self._file.exists():
            before = json.loads(self._file.read_text())
            if before.get("size") == name:
                self.rows = {row["key"]: row for row in before["rows"] if "failed" not in row}

    # What is kept

    def note(self, row: Row, *, told: bool = True) -> None:
        """Keeps a row, in the file too, and prints it."""
        with self._lock:
            self.rows[row["key"]] = row
            self.left_out.pop(row["key"], None)
            self._write()
        if told:
            print(one_line(row), flush=True)

    def leave_out(self, keys: Iterable[str], reason: str) -> None:
        """Keeps why rows are not there."""
        with self._lock:
            for key in keys:
                if not is_measured(self.rows.get(key)):
                    self.left_out.setdefault(key, reason)
            self._write()

    def _write(self) -> None:
        """Writes the file beside itself, then renames it: it is whole whenever it is read."""
        if self._file is None:
            return
        found = {
            "size": self.name,
            "finished": self.finished,
            "rows": list(self.rows.values()),
            "ratios": ratios(self.rows),
            "left_out": self.left_out,
        }
        beside = self._file.with_name(f"{self._file.name}.part")
        beside.write_text(json.dumps(found, indent=1))
        beside.replace(self._file)

    def has(self, key: str) -> bool:
        """Says whether a row was measured as it should be, in an earlier run perhaps."""
        row = self.rows.get(key)
        return row is not None and is_measured(row) and not row.get("while_compiling")

    # Processes

    def worker(self, side: str, *, fresh: bool = False) -> Worker:
        """Returns the process of a side, ready, a new one if that is to be.

        Raises:
            StoppedError: the side is not there.
            TimeIsUpError: there is no time left.
        """
        if side in self._absent:
            raise StoppedError(self._absent[side])
        if fresh:
            self.close(side)
        if side not in self._workers:
            if time.monotonic() > self._deadline:
                raise TimeIsUpError
            self._start(side)
        worker = self._workers[side]
        try:
            worker.ready(self._deadline)
        except StoppedError as error:
            self._absent[side] = str(error)
            self.close(side)
            raise
        return worker

    def _start(self, side: str) -> None:
        self._workers[side] = Worker(side, self._pythons[side], self.size.model, self._memory)

    def close(self, *sides: str) -> None:
        """Ends the processes of sides, all by default, so that the device's memory is free."""
        for side in sides or list(self._workers):
            if side in self._workers:
                self._workers.pop(side).close()

    # Stages

    def stages(self) -> dict[str, list[tuple[Any, list[str]]]]:
        """Returns the parts of each stage, by importance: what measures, and the keys of its rows."""
        single = {
            side: [step_row(side, what, "bfloat16", 1) for what in ("forward", "train")] for side in SIDES
        }
        scored = {
            "ours": [self.scoring_row(kind, "bfloat16") for kind in ("ism", "dense")],
            "peer": [step_row("peer", "score", "bfloat16", self.size.scored)],
        }
        return {
            "device": [(self.device, ["device ours", "device peer"])],
            "golden": [self.part_golden(precision) for precision in ("float32", "bfloat16")],
            "single": [self.part_together(single)],
            "scoring": [self.part_together(scored)],
            "largest": [
                self.part_largest(side, what, "bfloat16")
                for side, what in itertools.product(SIDES, ("forward", "train"))
            ],
            "rematerialized": [
                self.part_together({"ours": [step_row("ours", "train", "bfloat16", 1, rematerialized=True)]}),
                self.part_largest("ours", "train", "bfloat16", rematerialized=True),
            ],
            "tf32": [
                self.part_golden("tf32"),
                self.part_together(
                    {"ours": [step_row("ours", what, "tf32", 1) for what in ("forward", "train")]}
                ),
                self.part_largest("ours", "forward", "tf32"),
                self.part_largest("ours", "train", "tf32"),
                self.part_together({"ours": [step_row("ours", "train", "tf32", 1, rematerialized=True)]}),
                self.part_largest("ours", "train", "tf32", rematerialized=True),
            ],
            "isolated": [self.part_together({"ours": [self.scoring_row("isolated", "bfloat16")]})],
            "exact": [
                self.part_together({"ours": [self.scoring_row("ism", "float32")]}),
                self.part_together({"ours": [step_row("ours", "forward", "float32", 1)]}),
            ],
        }

    def measure(self, chosen: Sequence[str]) -> None:
        """Measures stages until there is no time left; names what is left out."""
        parts = [part for stage, parts in self.stages().items() if stage in chosen for part in parts]
        for side in SIDES:
            self._start(side)
        for side in SIDES:
            with contextlib.suppress(StoppedError):  # said again where it is needed
                self.worker(side)
        self._deadline = time.monotonic() + 60 * self._minutes  # imports do not count
        over = f"the {self._minutes:g} minutes were over"
        reason = over
        for function, keys in parts:
            if all(self.has(key) for key in keys):
                continue
            try:
                function()
            except TimeIsUpError:
                self._deadline = 0.0
                self.close()
                self.leave_out(keys, f"{over} while it was measured" if reason is over else reason)
                reason = f"{over} before it began"
            except StoppedError as error:
                self.close()
                self.leave_out(keys, str(error))
        self.finished = True
        self.leave_out([], "")

    def part_golden(self, precision: str) -> tuple[Any, list[str]]:
        """A part of one row of golden data."""
        key = f"golden {precision}"

        def golden() -> None:
            row: Row = {"key": key, "what": "golden", "precision": precision}
            for answer in self.worker("ours").ask(self._deadline, do="golden", precision=precision):
                row.update(answer)
            if precision == "float32" and "error" in row:
                row["passed"] = row["error"] < GOLDEN_TOLERANCE
            self.note(row)

        return golden, [key]

    def device(self) -> None:
        """Rates of the device, as each side's library has them."""
        for side, precisions in (("ours", ["bfloat16", "tf32", "float32"]), ("peer", ["bfloat16"])):
            try:
                worker = self.worker(side)
            except StoppedError as error:
                self.leave_out([f"device {side}"], str(error))
                continue
            row: Row = {"key": f"device {side}", "what": "device", "versions": worker.ready(self._deadline)}
            row.update(card(), python=platform.python_version(), rates={}, errors={})
            for answer in worker.ask(self._deadline, do="device"):
                row.update(answer)
            size = self.size
            for answer in worker.ask(
                self._deadline,
                do="rates",
                size=size.multiplied,
                copied=size.copied,
                seconds=size.seconds,
                precisions=precisions,
            ):
                if "rate" in answer:
                    row["rates"][answer["precision"]] = answer["rate"]
                    row["errors"][answer["precision"]] = answer.get("error")
                else:
                    row.update(answer)
            self.note(row)

    def scoring_row(self, kind: str, precision: str) -> Row:
        """A row of scoring with reuse."""
        row = step_row("ours", "score", precision, self.size.scored, kind=kind)
        return {**row, "alleles": self.size.alleles[kind]}

    def part_together(self, rows: dict[str, list[Row]], turns: int = 3) -> tuple[Any, list[str]]:
        """A part whose rows are prepared at the same time and measured in turns."""
        keys = [row["key"] for each in rows.values() for row in each]
        return lambda: self.together(rows, turns), keys

    def together(self, rows: dict[str, list[Row]], turns: int) -> None:
        """Measures rows of both sides in turns, those that an earlier run did not."""
        rows = {side: [row for row in each if not self.has(row["key"])] for side, each in rows.items()}
        with concurrent.futures.ThreadPoolExecutor(len(rows)) as pool:
            preparing = {side: pool.submit(self.prepare_first, side, each) for side, each in rows.items()}
        errors = [future.exception() for future in preparing.values()]
        ready: list[tuple[str, Row]] = []
        for side, future in preparing.items():
            error = future.exception()
            if error is None:
                ready += [(side, row) for row in future.result()]
            elif isinstance(error, StoppedError):
                self.close(side)
                self.leave_out([row["key"] for row in rows[side]], str(error))
        for turn in range(turns):
            for side, row in ready:
                if row.pop("while_compiling", False):
                    del row["turns"]
                self.take_time(side, row, told=turn == turns - 1)
        for error in errors:
            if error is not None and not isinstance(error, StoppedError):
                raise error

    def prepare_first(self, side: str, rows: Sequence[Row]) -> list[Row]:
        """Compiles rows and measures them once, while the other side may still compile: better than nothing."""
        prepared = self.prepare(side, rows)
        for row in prepared:
            row["while_compiling"] = True
            self.take_time(side, row, told=False)
        return prepared

    def prepare(self, side: str, rows: Sequence[Row], *, fresh: bool = False) -> list[Row]:
        """Compiles rows, and returns those that can be measured; the others say why not."""
        prepared = []
        asked = {row["key"]: row for row in rows}
        worker = self.worker(side, fresh=fresh)
        for answer in worker.ask(self._deadline, do="prepare", rows=list(asked.values())):
            if "key" not in answer:  # the request itself failed
                for row in asked.values():
                    self.note({**row, **answer})
                continue
            asked.pop(answer["key"], None)
            self.note(answer, told="failed" in answer)
            if "failed" not in answer:
                prepared.append(answer)
        # In the order that was asked for, not that of compilation.
        order = [row["key"] for row in rows]
        return sorted(prepared, key=lambda row: order.index(row["key"]))

    def take_time(self, side: str, row: Row, *, told: bool) -> None:
        """Measures a row that is prepared once more, and keeps the median of all times."""
        for answer in self.worker(side).ask(
            self._deadline, do="time", key=row["key"], seconds=self.size.seconds
        ):
            if "failed" in answer:
                row.update(answer)
                continue
            row.setdefault("turns", []).append(answer["seconds"])
            row["peak"] = answer["peak"]
            row["seconds"] = statistics.median(row["turns"])
        self.note(row, told=told)

    def part_largest(
        self, side: str, what: str, precision: str, *, rematerialized: bool = False
    ) -> tuple[Any, list[str]]:
        """A part that looks for the largest batch."""
        key = step_row(side, what, precision, 0, rematerialized=rematerialized)["key"]
        return lambda: self.largest(side, what, precision, rematerialized), [key]

    def largest(self, side: str, what: str, precision: str, rematerialized: bool) -> None:
        """Finds the largest batch that fits, by powers of two, and measures it, alone on the device.

        It begins with what the step of one window lets expect, where that was measured; from there it doubles
        as long as it fits, or halves until it does.
        """
        row = step_row(side, what, precision, 0, rematerialized=rematerialized)
        one = self.rows.get(step_row(side, what, precision, 1, rematerialized=rematerialized)["key"], {})
        self.close()
        batch = self._expected(side, one)
        fits, failed = 0, self.size.most + 1
        best: Row | None = None
        reason = "no batch was found to fit"
        while batch > 1 and fits < batch < failed:
            tried = {**row, "batch": batch}
            # A process whose step did not fit may have lost its weights.
            answers = self.prepare(side, [tried], fresh=True)
            if not answers:
                failing = self.rows.pop(row["key"])
                self.note({**failing, "key": f"{row['key']}, {batch} tried"})
                failed, batch = batch, batch // 2
                if not failing["too_large"]:
                    reason = f"{failed} windows failed otherwise than for want of memory"
                    break
                continue
            best, fits = answers[0], batch
            for turn in range(3):
                self.take_time(side, best, told=turn == 2)
            if batch * 2 >= failed or self._sure(best):
                break
            batch *= 2
        if best is not None:
            self.note(best, told=False)  # a larger one may have taken its place and failed
        elif batch == 1 and is_measured(one):
            self.note({**one, "key": row["key"]})
        else:
            self.leave_out([row["key"]], reason)

    def _limit(self, side: str) -> int | None:
        told: int | None = self.rows.get(f"device {side}", {}).get("memory")
        return self._memory if self._memory is not None else told

    def _expected(self, side: str, one: Row) -> int:
        """Returns the batch that should fit by what one window takes, or 2."""
        limit, memory, fixed = self._limit(side), one.get("memory"), one.get("fixed")
        if limit is None or memory is None or fixed is None:
            return min(2, self.size.most)
        windows = (0.92 * limit - fixed) / max(1, memory - fixed)
        return max(2, min(self.size.most, 1 << max(0, int(windows).bit_length() - 1)))

    def _sure(self, row: Row) -> bool:
        """Says whether twice the batch cannot fit, by what this one takes beyond weights and moments."""
        limit, memory, fixed = self._limit(row["side"]), row["memory"], row["fixed"]
        return None not in (limit, memory, fixed) and 2 * (memory - fixed) + fixed > limit


def card() -> Row:
    """Returns what the machine says of itself: card and driver, or the processor where there is none."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
        name, driver, memory = (each.strip() for each in told.splitlines()[0].split(","))
        return {"card": f"{name}, {memory}", "driver": driver}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        processors = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        name = processors[0] if processors else platform.machine()
        return {"card": f"none; {os.cpu_count()} cores of {name}", "driver": "none"}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here, as it comes")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--minutes", type=float, default=8, help="after which nothing is measured any more")
    parser.add_argument(
        "--resume", action="store_true", help="keep the figures of FILE, and measure the others"
    )
    parser.add_argument("--memory", type=float, metavar="GIB", help="of the device, to be used at most")
    parser.add_argument(
        "--peer-python", help="of an environment with torch and enformer-pytorch; else this one"
    )
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="in place of all")
    arguments = parser.parse_args()
    run = Run(arguments.size, arguments)
    known = list(run.stages())
    chosen = arguments.stages or known
    if unknown := set(chosen) - set(known):
        parser.error(f"--stages: {sorted(unknown)} are not among {', '.join(known)}")
    if arguments.resume and arguments.json is None:
        parser.error("--resume needs --json FILE, which has the figures")
    before = run.rows.get("device ours", {}).get("card")
    if before is not None and before != card()["card"]:
        parser.error(f"--resume: {arguments.json} has figures of another card ({before}); give another file")
    # As a time limit ends it: the processes go too, and what was found is printed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    try:
        run.measure(chosen)
    finally:
        run.close()
        print(f"\n{table(run.name, run.rows, run.size.model, run.left_out)}", flush=True)


if __name__ == "__main__":
    main()
