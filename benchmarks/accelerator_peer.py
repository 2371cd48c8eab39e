"""The other side of `benchmarks/accelerator.py`: enformer-pytorch."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from accelerator_steps import (
    CLIP_NORM,
    HEAD,
    LEARNING_RATE,
    Answer,
    Step,
    random_batch,
    seconds_of,
    versions_of,
)
from operations import Sizes


class Peer:
    """enformer-pytorch, compiled by torch.compile, in bfloat16 by autocast.

    Args:
        sizes: of the model.
        memory: bytes that it may take; `None`: what the device has.
    """

    def __init__(self, sizes: Sizes, memory: int | None) -> None:
        import enformer_pytorch
        import torch

        self.sizes, self.memory = sizes, memory
        self._torch, self._package = torch, enformer_pytorch
        self._model: Any = None

    def versions(self) -> dict[str, str]:
        """Returns versions of what computes."""
        return versions_of("torch", "enformer-pytorch", "transformers")

    def device(self) -> Answer:
        """Returns ``platform`` and ``memory``, bytes or `None`."""
        if not self._torch.cuda.is_available():
            return {"platform": "cpu", "memory": None}
        told = self._torch.cuda.get_device_properties(0)
        return {"platform": f"gpu {told.name}", "memory": told.total_memory}

    def limit(self) -> int | None:
        """Returns the bytes that steps may take; `None`: not known."""
        return self.memory if self.memory is not None else self.device()["memory"]

    def rates(self, request: Answer) -> Iterator[Answer]:
        """Gives the rate of products in bfloat16."""
        a, b = (
            self._torch.randn(request["size"], request["size"], device=self._where).bfloat16() for _ in range(2)
        )
        took = seconds_of(self._runner(lambda: a @ b), request["seconds"], 3)
        yield {"precision": "bfloat16", "rate": 2.0 * request["size"] ** 3 / took}

    @property
    def _where(self) -> str:
        return "cuda" if self._torch.cuda.is_available() else "cpu"

    def _wait(self) -> None:
        if self._where == "cuda":
            self._torch.cuda.synchronize()

    def _runner(self, call: Callable[[], Any]) -> Callable[[int], None]:
        def run(times: int) -> None:
            for _ in range(times):
                call()
            self._wait()

        return run

    def _build(self) -> None:
        torch, sizes = self._torch, self.sizes
        # What TF32 and a search for the fastest convolutions gain, it has.
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        if self.memory is not None and self._where == "cuda":
            share = self.memory / torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, share))
        torch.manual_seed(0)
        self._model = self._package.Enformer.from_hparams(
            dim=sizes.channels,
            depth=sizes.layers,
            heads=sizes.heads,
            attn_dim_key=sizes.key_size,
            dim_divisible_by=sizes.divisible_by,
            output_heads=dict(sizes.tracks),
            target_length=-1 if sizes.target_length is None else sizes.target_length,
        ).to(self._where)
        options = {"fused": True} if self._where == "cuda" else {}
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE, **options)
        self._compiled = torch.compile(self._model, dynamic=False)

    def peak(self) -> int | None:
        """Returns the bytes of the device that were in use at most until now; `None`: not known."""
        return int(self._torch.cuda.max_memory_allocated()) if self._where == "cuda" else None

    def prepare(self, rows: Sequence[Answer]) -> Iterator[tuple[Answer, Step | Exception]]:
        """Compiles steps and makes each once."""
        for row in rows:
            begun = time.perf_counter()
            try:
                if self._model is None:
                    self._build()
                if self._where == "cuda":
                    self._torch.cuda.reset_peak_memory_stats()
                run = self._step(row)
                run(2)
            except Exception as error:
                yield row, error
                continue
            took, fixed = time.perf_counter() - begun, None
            if self._where == "cuda":
                # The batch is among it, which is little.
                fixed = int(self._torch.cuda.memory_allocated())
            yield row, Step(run, took, self.peak(), fixed)

    def _step(self, row: Answer) -> Callable[[int], None]:
        torch, model, compiled = self._torch, self._model, self._compiled
        sequence, targets = random_batch(self.sizes, row["batch"])
        x = torch.from_numpy(sequence).to(self._where)
        y = {head: torch.from_numpy(target).to(self._where) for head, target in targets.items()}
        poisson = torch.nn.PoissonNLLLoss(log_input=False)

        def half() -> Any:
            return torch.autocast(self._where, dtype=torch.bfloat16)

        def forward() -> Any:
            model.eval()
            with torch.inference_mode(), half():
                return compiled(x)

        def train() -> None:
            model.train()
            self._optimizer.zero_grad(set_to_none=True)
            with half():
                outputs = compiled(x)
            loss = sum(poisson(outputs[head].float(), y[head]) for head in y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            self._optimizer.step()

        # Windows of REF and ALT about each allele, from the host, and their scores, back to it.
        windows = torch.from_numpy(sequence.astype(np.uint8))
        row["alleles"] = row["batch"] // 2

        def score() -> Any:
            model.eval()
            with torch.inference_mode(), half():
                predicted = compiled(windows.to(self._where).float(), head=HEAD).float()
                return (predicted[1::2] - predicted[::2]).sum(dim=1).cpu()

        return self._runner({"forward": forward, "train": train, "score": score}[row["what"]])
