"""What a program that XLA has compiled reads and writes, by kind, from the program's text."""

import dataclasses
import re
from collections.abc import Iterator

# The most that an instruction is told by, in this order; the names are those of the tables.
KINDS = (
    "convolutions",
    "matrix products",
    "layout changes and copies",
    "reductions",
    "elementwise",
    "collectives",
    "others",
)
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# They only name what is there, or wait for what another instruction has moved.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "iota",
    "copy-start", "copy-done", "slice-start", "slice-done",
}  # fmt: skip
# Fusions of these alone compute nothing.
_MOVING = {
    "copy", "reshape", "transpose", "pad", "slice", "concatenate", "broadcast", "reverse", "dynamic-slice",
    "dynamic-update-slice", "gather", "select", "compare", "and", "or", "not", "convert", "maximum",
    "bitcast-convert", *_FREE,
}  # fmt: skip
_ELEMENT = {"pred": 1, "s4": 1, "u4": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_ELEMENT |= {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8, "c64": 8, "c128": 16}
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|called_computations|branch_computations)=\{?((?:%[\w.\-]+(?:, )?)+)"
)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: Of its result.
        shape: Of its result, as it stands there.
        opcode: What it does, such as ``"fusion"``.
        operands: Names of what it takes.
        called: Names of the computations that it calls.
        number: Of a parameter, which it is.
        operation: What the program's author called it, such as ``"jit(f)/stem_conv/conv_general_dilated"``.
        cycles: How long XLA expects it to take; 0 where nothing is said.
        is_root: Whether its result is the computation's.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    called: tuple[str, ...]
    number: int | None
    operation: str
    cycles: int
    is_root: bool


@dataclasses.dataclass
class Moved:
    """A kind's share of a program: instructions, bytes that they read and write, cycles that XLA expects."""

    instructions: int = 0
    bytes: int = 0
    cycles: int = 0


class Program:
    """A compiled program.

    Args:
        text: What ``compiled.as_text()`` gives in JAX.

    Attributes:
        computations: Instructions by the computation's name.
        entry: Name of the computation that runs.

    Raises:
        ValueError: The text has no entry.
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        current: list[Instruction] = []
        for line in text.splitlines():
            if instruction := _INSTRUCTION.match(line):
                current.append(_read(*instruction.groups()))
            elif computation := _COMPUTATION.match(line):
                current = self.computations.setdefault(computation[2], [])
                if computation[1]:
                    self.entry = computation[2]
        if not self.entry:
            raise ValueError("the text is no program of XLA: it has no ENTRY")

    def by_kind(self) -> dict[str, Moved]:
        """Add up each kind of instruction.

        Bytes are those of operands and results, each once, without what layouts fill up. Of an operand that a
        fusion takes slices of, the slices count, and of a result that is an operand with a slice written into
        it, that slice. What is copied between memories of the chip ahead of its use does not count, and of
        loops one round.

        Returns:
            For each of `KINDS`, its share.
        """
        kinds = {kind: Moved() for kind in KINDS}
        for computation in self._running(self.entry):
            shapes = {instruction.name: instruction.shape for instruction in self.computations[computation]}
            for instruction in self.computations[computation]:
                if instruction.opcode in _FREE or self._is_control(instruction):
                    continue
                share = kinds[self._kind(instruction)]
                share.instructions += 1
                share.bytes += self._bytes(instruction, shapes)
                share.cycles += instruction.cycles
        return kinds

    def collectives(self) -> dict[str, Moved]:
        """Add up what chips exchange: by kind of collective, how often and the bytes that a chip gives."""
        found: dict[str, Moved] = {}
        for instructions in self.computations.values():
            shapes = {instruction.name: instruction.shape for instruction in instructions}
            for instruction in instructions:
                opcode = instruction.opcode.removesuffix("-start")
                if opcode in COLLECTIVES:
                    share = found.setdefault(opcode, Moved())
                    share.instructions += 1
                    share.bytes += sum(size_of(shapes.get(name, "")) for name in instruction.operands)
        return found

    def count(self, opcode: str) -> int:
        """Return how many instructions of an opcode run."""
        return sum(
            instruction.opcode == opcode
            for computation in self._running(self.entry)
            for instruction in self.computations[computation]
        )

    def _running(self, computation: str) -> Iterator[str]:
        """The computation, and those to which its control goes."""
        yield computation
        for instruction in self.computations[computation]:
            if self._is_control(instruction):
                for called in instruction.called:
                    yield from self._running(called)

    @staticmethod
    def _is_control(instruction: Instruction) -> bool:
        return instruction.opcode in {"while", "conditional", "call"}

    def _within(self, instruction: Instruction) -> Iterator[Instruction]:
        """The instruction, or what is fused in it."""
        if not instruction.called or instruction.opcode not in {"fusion", "async-start"}:
            yield instruction
            return
        for called in instruction.called:
            for inner in self.computations[called]:
                yield from self._within(inner)

    def _kind(self, instruction: Instruction) -> str:
        inner = list(self._within(instruction))
        opcodes = {each.opcode.removesuffix("-start").removesuffix("-done") for each in inner}
        if opcodes & set(COLLECTIVES) or instruction.opcode.removesuffix("-done") in COLLECTIVES:
            return "collectives"
        # On TPUs a product is a convolution too: the author's name for it tells.
        products = [each.operation for each in inner if each.opcode in {"convolution", "dot"}]
        if products:
            return "convolutions" if "conv_general" in " ".join(products) else "matrix products"
        if opcodes <= _MOVING and opcodes != {"convert"}:
            return "layout changes and copies"
        if opcodes & {"reduce", "reduce-window"}:
            return "reductions"
        if instruction.opcode in {"custom-call", "sort", "rng-bit-generator", "async-done"}:
            return "others"
        return "elementwise"

    def _bytes(self, instruction: Instruction, shapes: dict[str, str]) -> int:
        written = size_of(instruction.shape)
        if instruction.opcode in {"slice", "dynamic-slice"}:
            return 2 * written
        if instruction.opcode.endswith("-done") or instruction.opcode == "custom-call":
            return 0  # counted at the start; the custom calls of libtpu put names together
        if instruction.opcode == "dynamic-update-slice":
            return 2 * size_of(shapes.get(instruction.operands[1], ""))
        update = self._update_of(instruction)
        if update is not None:
            written = update
        read = 0
        for number, operand in enumerate(instruction.operands):
            whole = size_of(shapes.get(operand, ""))
            read += self._read_of(instruction, number, whole) if instruction.opcode == "fusion" else whole
        return written + read

    def _update_of(self, fusion: Instruction) -> int | None:
        """Bytes that a fusion writes into one of its operands, or into a buffer; ``None`` if it writes all."""
        if fusion.opcode != "fusion":
            return None
        body = {each.name: each for each in self.computations[fusion.called[0]]}
        last = next(each for each in body.values() if each.is_root)
        while last.opcode == "bitcast" and last.operands[0] in body:
            last = body[last.operands[0]]
        if last.opcode != "dynamic-update-slice":
            return None
        return size_of(body[last.operands[1]].shape)

    def _read_of(self, fusion: Instruction, number: int, whole: int) -> int:
        """Bytes that a fusion reads of an operand."""
        body = self.computations[fusion.called[0]]
        name = next((each.name for each in body if each.opcode == "parameter" and each.number == number), None)
        users = [each for each in body if name in each.operands]
        if users and all(
            each.opcode == "dynamic-update-slice" and name not in each.operands[1:] for each in users
        ):
            return 0
        if users and all(each.opcode in {"slice", "dynamic-slice"} for each in users):
            return min(whole, sum(size_of(each.shape) for each in users))
        return whole


def size_of(shape: str) -> int:
    """Return the bytes of a shape, or of all in a tuple: ``"(bf16[2,3]{1,0}, f32[])"`` has 16."""
    total = 0
    for element, sizes in _ARRAY.findall(shape):
        number = _ELEMENT.get(element, 0)
        for size in sizes.split(","):
            number *= int(size) if size else 1
        total += number
    return total


def _read(root: str | None, name: str, rest: str) -> Instruction:
    end = _closing(rest) if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].strip()
    opcode, _, _ = rest.partition("(")
    rest = rest[len(opcode) :]
    end = _closing(rest)
    arguments, attributes = rest[:end], rest[end:]
    called = _CALLED.search(attributes)
    operation = re.search(r'op_name="([^"]*)"', attributes)
    cycles = re.search(r'"estimated_cycles":"(\d+)"', attributes)
    return Instruction(
        name=name,
        shape=shape,
        opcode=opcode,
        operands=tuple(re.findall(r"%([\w.\-]+)", arguments)),
        called=tuple(re.findall(r"%([\w.\-]+)", called[1])) if called else (),
        number=int(arguments[1:-1]) if opcode == "parameter" else None,
        operation=operation[1] if operation else "",
        cycles=int(cycles[1]) if cycles else 0,
        is_root=root is not None,
    )


def _closing(text: str) -> int:
    """Where the parenthesis that a text begins with is closed, past it."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return at + 1
    raise ValueError(f"a parenthesis is not closed: {text[:80]}")
