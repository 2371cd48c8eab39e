"""One side of `benchmarks/accelerator.py` in a process of its own: this project's model, or enformer-pytorch.

Reads a request per line from standard input, JSON with what is to be done under ``do``, and answers in lines
of JSON. The first answer, before any request is read, says which versions these are, or why there is no such
side. The device is not touched before the first request. It ends when its input does.
"""

import json
import os
import sys
from collections.abc import Iterator

from accelerator_ours import Ours, OursOnJax, OursOnTensorFlow
from accelerator_peer import Peer
from accelerator_steps import ROOT, Answer, Step, TooLargeError, seconds_of
from operations import Sizes


def make_side(name: str, sizes: Sizes, memory: int | None) -> Ours | Peer:
    """Makes a side: `ours`, on the backend of KERAS_BACKEND, or `peer`.

    Raises:
        ImportError: what it needs is not installed.
    """
    if name == "peer":
        return Peer(sizes, memory)
    backend = os.environ.setdefault("KERAS_BACKEND", "jax")
    return {"jax": OursOnJax, "tensorflow": OursOnTensorFlow}[backend](sizes, memory)


def why(error: Exception) -> Answer:
    """Says what became of a step that failed, and whether for want of memory."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    marks = ("RESOURCE_EXHAUSTED", "out of memory", "OutOfMemory", "Resource exhausted")
    short = isinstance(error, TooLargeError | MemoryError) or any(mark in text for mark in marks)
    return {"failed": ("out of memory: " if short else "") + text[:300], "too_large": short}


def answers(side: Ours | Peer, request: Answer, steps: dict[str, Step]) -> Iterator[Answer]:
    """Does what is asked."""
    match request["do"]:
        case "device":
            yield side.device()
        case "rates":
            yield from side.rates(request)
        case "golden":
            assert isinstance(side, Ours)
            yield from side.golden(request)
        case "prepare":
            for row, step in side.prepare(request["rows"]):
                if isinstance(step, Exception):
                    yield {**row, **why(step)}
                    continue
                steps[row["key"]] = step
                told = {"compile_s": step.compile_s, "memory": step.memory, "fixed": step.fixed}
                yield {**row, **told, "peak": side.peak()}
        case "time":
            yield {"seconds": seconds_of(steps[request["key"]].run, request["seconds"]), "peak": side.peak()}


def main() -> None:
    """Answer standard input until it ends."""
    # What libraries print goes to stderr; the answers have stdout to themselves.
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.path.insert(0, str(ROOT))
    name, sizes, memory = sys.argv[1], Sizes(**json.loads(sys.argv[2])), json.loads(sys.argv[3])

    def tell(answer: Answer) -> None:
        print(json.dumps(answer), file=told, flush=True)

    try:
        side = make_side(name, sizes, memory)
        tell({"ready": side.versions()})
    except ImportError as error:
        tell({"absent": str(error)})
        return
    steps: dict[str, Step] = {}
    for line in sys.stdin:
        try:
            for answer in answers(side, json.loads(line), steps):
                tell(answer)
        except Exception as error:
            tell(why(error))
        tell({"done": True})


if __name__ == "__main__":
    main()
