"""This project's side of `benchmarks/accelerator.py`, on JAX and on TensorFlow."""

import abc
import concurrent.futures
import importlib
import importlib.metadata
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from accelerator_steps import (
    CLIP_NORM,
    FULL,
    HEAD,
    LEARNING_RATE,
    PRECISIONS,
    REMATERIALIZED,
    Answer,
    Step,
    TooLargeError,
    random_batch,
    seconds_of,
    versions_of,
)
from operations import BIN_SIZE, Sizes


class Ours(abc.ABC):
    """This project's model on one backend, which a subclass is for.

    Args:
        sizes: of the model.
        memory: bytes that it may take; `None`: what the device has.
    """

    def __init__(self, sizes: Sizes, memory: int | None) -> None:
        self.sizes, self.memory = sizes, memory
        self._models: dict[tuple[str, str], Any] = {}
        self._scorers: dict[str, Any] = {}

    # What a backend says

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """Returns versions of what computes."""

    @abc.abstractmethod
    def device(self) -> Answer:
        """Returns ``platform`` and ``memory``, bytes or `None`."""

    @abc.abstractmethod
    def compute_in(self, precision: str) -> None:
        """Says how what is compiled from now on makes products of float32."""

    @abc.abstractmethod
    def multiply(self, precision: str, a: np.ndarray, b: np.ndarray) -> tuple[Callable[[int], None], Any]:
        """Returns what multiplies matrices, and their product."""

    @abc.abstractmethod
    def copy(self, values: np.ndarray) -> Callable[[int], None]:
        """Returns what reads an array and writes another of its size."""

    @abc.abstractmethod
    def compile(self, rows: Sequence[Answer]) -> Iterator[tuple[Answer, Step | Exception]]:
        """Compiles forward passes and training steps, and gives them as they are ready."""

    @abc.abstractmethod
    def peak(self) -> int | None:
        """Returns the bytes of the device that were in use at most until now; `None`: not known."""

    @abc.abstractmethod
    def on_host(self) -> Any:
        """Within this context weights are drawn by the processor."""

    @abc.abstractmethod
    def to_device(self, model: Any) -> None:
        """Brings the weights to the device."""

    # What is the same on all

    def build(self, arguments: Mapping[str, Any], precision: str) -> Any:
        """Builds a model whose weights lie on the device."""
        import keras
        from scoring import draw_attention

        from enformer_keras import Enformer

        keras.utils.set_random_seed(0)
        with self.on_host():
            model = Enformer(**arguments, dtype=PRECISIONS[precision][0])
            draw_attention(model)
        self.to_device(model)
        return model

    def model(self, precision: str) -> Any:
        """Returns the model in a precision, the one that is there."""
        policy = PRECISIONS[precision][0]
        if ("model", policy) not in self._models:
            self._models["model", policy] = self.build(self.sizes.arguments(), precision)
        return self._models["model", policy]

    def rates(self, request: Answer) -> Iterator[Answer]:
        """Gives the rate of products in each precision with its error, and of copies."""
        rng = np.random.default_rng(0)
        size, small = request["size"], min(512, request["size"])
        a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
        exact = a[:small, :small].astype(np.float64) @ b[:small, :small].astype(np.float64)
        for precision in request["precisions"]:
            run, _ = self.multiply(precision, a, b)
            took = seconds_of(run, request["seconds"], 3)
            _, product = self.multiply(precision, a[:small, :small], b[:small, :small])
            error = float(np.linalg.norm(np.asarray(product, dtype=np.float64) - exact) / np.linalg.norm(exact))
            yield {"precision": precision, "rate": 2.0 * size**3 / took, "error": error}
        values = np.ones(request["copied"] // 4, dtype=np.float32)
        yield {"copy": 2.0 * values.nbytes / seconds_of(self.copy(values), request["seconds"], 3)}

    def golden(self, request: Answer) -> Iterator[Answer]:
        """Gives the largest difference from the reference's outputs as a share of the largest of these."""
        from enformer_keras.checkpoints.sonnet import sonnet_entries

        golden = importlib.import_module("tests.golden")
        precision = request["precision"]
        config = golden.description()["config"]
        arguments = {key: value for key, value in config.items() if key not in ("batch", "seed")}
        begun = time.perf_counter()
        with self.on_host():
            model = self.build(arguments, precision)
            for key, variable, shape in sonnet_entries(model):
                variable.assign(np.reshape(golden.tensor(key, shape), variable.shape))
        self.to_device(model)
        self.compute_in(precision)
        predicted = model.predict_on_batch(golden.one_hot())
        errors = []
        for head, values in predicted.items():
            expected = golden.arrays()[f"eval/{head}"]
            found = np.asarray(values, dtype=np.float32)
            errors.append(float(np.abs(found - expected).max() / np.abs(expected).max()))
        # NaN is no smaller error than any other, whatever max() makes of it.
        error = math.nan if any(math.isnan(each) for each in errors) else max(errors)
        yield {"error": error, "seconds": time.perf_counter() - begun}

    def limit(self) -> int | None:
        """Returns the bytes that steps may take; `None`: not known."""
        return self.memory if self.memory is not None else self.device()["memory"]

    def prepare(self, rows: Sequence[Answer]) -> Iterator[tuple[Answer, Step | Exception]]:
        """Compiles steps and makes each once."""
        scored = [row for row in rows if row["what"] == "score"]
        for row, step in self.compile([row for row in rows if row["what"] != "score"]):
            if isinstance(step, Step):
                limit = self.limit()
                if limit is not None and step.memory is not None and step.memory > FULL * limit:
                    yield row, TooLargeError(f"its plan takes {step.memory / 2**30:.1f} GiB")
                    continue
                try:
                    step.run(1)
                except Exception as error:  # each backend has kinds of its own
                    yield row, error
                    continue
            yield row, step
        for row in scored:
            try:
                yield row, self.scoring(row)
            except Exception as error:
                yield row, error

    def scoring(self, row: Answer) -> Step:
        """Makes what scores the row's alleles with reuse, and holds some against full passes."""
        from scoring import (
            KINDS,
            RandomContig,
            cell_of,
            largest_differences,
            make_variants,
            make_ways,
            seconds_an_allele,
        )

        precision, window = row["precision"], self.sizes.length
        self.compute_in(precision)
        begun = time.perf_counter()
        if precision not in self._scorers:
            model = self.model(precision).head_model(HEAD)
            self._scorers[precision] = make_ways(
                model, window, self.sizes.target, self.sizes.tracks[HEAD], row["batch"]
            )
        ways, kind, count = self._scorers[precision], row["kind"], row["alleles"]
        apart = KINDS[kind][0] or (0 if kind == "ism" else window + 1)
        contig = RandomContig(3 * window + count * (apart + 1))
        variants = make_variants(contig, kind, count, window)
        row["error"], row["effect"] = largest_differences(ways, contig, variants[:8], kind)
        cell = cell_of(kind, self.sizes.target * BIN_SIZE)

        def run(times: int) -> None:
            for _ in range(times):
                seconds_an_allele(ways["reuse"], contig, variants, kind, cell)

        run(1)
        return Step(run, time.perf_counter() - begun, None)


class OursOnJax(Ours):
    """On JAX, where steps are compiled ahead of time: that takes a time, and says what memory they take."""

    def __init__(self, sizes: Sizes, memory: int | None) -> None:
        super().__init__(sizes, memory)
        import jax

        self._jax = jax
        # Forward passes and training steps share the weights, which a training step replaces.
        self._states: dict[str, list[Any]] = {}
        self._batches: dict[int, Any] = {}
        self._hits = threading.local()
        jax.monitoring.register_event_listener(self._count_hits)

    def _count_hits(self, event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            self._hits.count = getattr(self._hits, "count", 0) + 1

    def versions(self) -> dict[str, str]:
        """See `Ours`."""
        return versions_of("jax", "jaxlib", "keras")

    def device(self) -> Answer:
        """See `Ours`."""
        device = self._jax.devices()[0]
        told = device.memory_stats() or {}
        return {"platform": f"{device.platform} {device.device_kind}", "memory": told.get("bytes_limit")}

    def compute_in(self, precision: str) -> None:
        """See `Ours`."""
        self._jax.config.update("jax_default_matmul_precision", PRECISIONS[precision][1])

    def multiply(self, precision: str, a: np.ndarray, b: np.ndarray) -> tuple[Callable[[int], None], Any]:
        """See `Ours`."""
        self.compute_in(precision)
        kind = "bfloat16" if precision == "bfloat16" else "float32"
        matrices = [self._jax.device_put(self._jax.numpy.asarray(each, dtype=kind)) for each in (a, b)]
        multiply = self._jax.jit(lambda a, b: a @ b)
        return self._runner(lambda: multiply(*matrices)), np.asarray(multiply(*matrices).astype("float32"))

    def copy(self, values: np.ndarray) -> Callable[[int], None]:
        """See `Ours`."""
        there = self._jax.device_put(values)
        negative = self._jax.jit(lambda x: -x)
        return self._runner(lambda: negative(there))

    def on_host(self) -> Any:
        """See `Ours`."""
        # Drawing on the device would compile a program for each shape.
        return self._jax.default_device(self._jax.local_devices(backend="cpu")[0])

    def to_device(self, model: Any) -> None:
        """See `Ours`."""
        for variable in model.variables:
            variable.assign(self._jax.device_put(variable.value, self._jax.devices()[0]))

    def peak(self) -> int | None:
        """See `Ours`."""
        told = self._jax.devices()[0].memory_stats() or {}
        return told.get("peak_bytes_in_use")

    def _runner(self, call: Callable[[], Any]) -> Callable[[int], None]:
        """Calls without a pause, but not so far ahead that results fill the memory."""

        def run(times: int) -> None:
            last = None
            for _ in range(times):
                now = call()
                if last is not None:
                    self._jax.block_until_ready(last)
                last = now
            self._jax.block_until_ready(last)

        return run

    def _state(self, precision: str) -> list[Any]:
        """Trainable weights, other ones, and the optimizer's: of the model, so far as steps have come."""
        policy = PRECISIONS[precision][0]
        if policy not in self._states:
            import keras

            model = self.model(precision)
            optimizer = keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP_NORM)
            with self.on_host():
                optimizer.build(model.trainable_variables)
            device = self._jax.devices()[0]
            self._states[policy] = [
                # Copies: training deletes what it replaces, and scoring asks the model's own.
                [self._jax.numpy.copy(self._jax.device_put(variable.value, device)) for variable in kind]
                for kind in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
            ]
            self._models["optimizer", policy] = optimizer
        return self._states[policy]

    def _batch(self, size: int) -> Any:
        if size not in self._batches:
            self._batches = {size: self._jax.device_put(random_batch(self.sizes, size))}
        return self._batches[size]

    def _lower(self, row: Answer) -> tuple[Any, Callable[[Any], Callable[[int], None]]]:
        """Traces a step; returns it, and what makes it run once it is compiled."""
        import keras

        model, state = self.model(row["precision"]), self._state(row["precision"])
        model.rematerialize(*(REMATERIALIZED if row.get("rematerialized") else ()))
        self.compute_in(row["precision"])
        optimizer = self._models["optimizer", PRECISIONS[row["precision"]][0]]
        poisson = keras.losses.Poisson()
        x, y = self._batch(row["batch"])

        def forward(trainable: Any, rest: Any, x: Any) -> Any:
            return model.stateless_call(trainable, rest, x, training=False)[0]

        def loss(trainable: Any, rest: Any, x: Any, y: Any) -> Any:
            outputs, rest = model.stateless_call(trainable, rest, x, training=True)
            return sum(poisson(y[head], outputs[head]) for head in y), rest

        def train(state: Any, x: Any, y: Any) -> Any:
            trainable, rest, moments = state
            (value, rest), gradients = self._jax.value_and_grad(loss, has_aux=True)(trainable, rest, x, y)
            trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
            return [trainable, rest, moments], value

        if row["what"] == "forward":
            return self._jax.jit(forward).lower(*state[:2], x), lambda compiled: self._runner(
                lambda: compiled(*state[:2], x)
            )

        def running(compiled: Any) -> Callable[[int], None]:
            def step() -> Any:
                state[:], value = compiled(state, x, y)
                return value

            return self._runner(step)

        return self._jax.jit(train, donate_argnums=0).lower(state, x, y), running

    def compile(self, rows: Sequence[Answer]) -> Iterator[tuple[Answer, Step | Exception]]:
        """See `Ours`."""

        def finish(row: Answer, lowered: Any, running: Any, traced: float) -> Step:
            begun, before = time.perf_counter(), getattr(self._hits, "count", 0)
            compiled = lowered.compile()
            took = traced + time.perf_counter() - begun
            cached = getattr(self._hits, "count", 0) > before
            plan = compiled.memory_analysis()
            memory = None if plan is None else _bytes_of_plan(plan, self._kept_beside(row))
            fixed = self._bytes_of(self._state(row["precision"]))
            return Step(running(compiled), None if cached else took, memory, fixed)

        # Tracing is Python's; compilation leaves it free, and takes much longer.
        with concurrent.futures.ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 4)) as pool:
            compiling: dict[Any, Answer] = {}
            for row in rows:
                begun = time.perf_counter()
                try:
                    lowered, running = self._lower(row)
                except Exception as error:  # data alone may be too much
                    yield row, error
                    continue
                traced = time.perf_counter() - begun
                compiling[pool.submit(finish, row, lowered, running, traced)] = row
            for future in concurrent.futures.as_completed(compiling):
                try:
                    step = future.result()
                except Exception as error:
                    yield compiling[future], error
                else:
                    yield compiling[future], step

    def _kept_beside(self, row: Answer) -> int:
        """Bytes of the device that a forward pass leaves where they are: the optimizer's and the targets."""
        if row["what"] != "forward":
            return 0
        return self._bytes_of([self._state(row["precision"])[2], self._batch(row["batch"])[1]])

    def _bytes_of(self, arrays: Any) -> int:
        return sum(leaf.nbytes for leaf in self._jax.tree.leaves(arrays))


def _bytes_of_plan(plan: Any, beside: int) -> int:
    """Bytes that a compiled step takes, results that lie where arguments were counted once."""
    total = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return int(total + plan.temp_size_in_bytes + plan.generated_code_size_in_bytes + beside)


class OursOnTensorFlow(Ours):
    """On TensorFlow, compiled by XLA."""

    def __init__(self, sizes: Sizes, memory: int | None) -> None:
        super().__init__(sizes, memory)
        import tensorflow as tf

        self._tf = tf
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)

    def versions(self) -> dict[str, str]:
        """See `Ours`."""
        return versions_of("tensorflow", "keras")

    def device(self) -> Answer:
        """See `Ours`."""
        gpus = self._tf.config.list_physical_devices("GPU")
        if not gpus:
            return {"platform": "cpu", "memory": None}
        told = self._tf.config.experimental.get_device_details(gpus[0])
        return {"platform": f"gpu {told.get('device_name', '')}".strip(), "memory": None}

    def compute_in(self, precision: str) -> None:
        """See `Ours`."""
        self._tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")

    def multiply(self, precision: str, a: np.ndarray, b: np.ndarray) -> tuple[Callable[[int], None], Any]:
        """See `Ours`."""
        self.compute_in(precision)
        kind = "bfloat16" if precision == "bfloat16" else "float32"
        matrices = [self._tf.cast(each, kind) for each in (a, b)]
        multiply = self._tf.function(self._tf.matmul, jit_compile=True)
        product = self._tf.cast(multiply(*matrices), "float32").numpy()
        return self._runner(lambda: multiply(*matrices)[0, 0]), product

    def copy(self, values: np.ndarray) -> Callable[[int], None]:
        """See `Ours`."""
        there = self._tf.constant(values)
        negative = self._tf.function(lambda x: -x, jit_compile=True)
        return self._runner(lambda: negative(there)[0])

    def on_host(self) -> Any:
        """See `Ours`."""
        # Its variables stay where they were made.
        return self._tf.device(None)

    def to_device(self, model: Any) -> None:
        """They are there."""

    def peak(self) -> int | None:
        """See `Ours`."""
        if not self._tf.config.list_physical_devices("GPU"):
            return None
        return int(self._tf.config.experimental.get_memory_info("GPU:0")["peak"])

    def _runner(self, call: Callable[[], Any]) -> Callable[[int], None]:
        """Calls without a pause; a number of the last result says that all are there."""

        def run(times: int) -> None:
            for _ in range(times):
                last = call()
            last.numpy()

        return run

    def compile(self, rows: Sequence[Answer]) -> Iterator[tuple[Answer, Step | Exception]]:
        """See `Ours`."""
        for row in rows:
            begun = time.perf_counter()
            try:
                run = self._compiled(row)
                run(1)
            except Exception as error:
                yield row, error
                continue
            yield row, Step(run, time.perf_counter() - begun, self.peak())

    def _compiled(self, row: Answer) -> Callable[[int], None]:
        import keras

        model = self.model(row["precision"])
        model.rematerialize(*(REMATERIALIZED if row.get("rematerialized") else ()))
        self.compute_in(row["precision"])
        x, y = self._tf.nest.map_structure(self._tf.constant, random_batch(self.sizes, row["batch"]))
        if row["what"] == "forward":
            forward = self._tf.function(lambda x: model(x, training=False), jit_compile=True)
            return self._runner(lambda: forward(x)[HEAD][0, 0, 0])
        poisson = keras.losses.Poisson()
        optimizer = keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP_NORM)
        optimizer.build(model.trainable_variables)

        @self._tf.function(jit_compile=True)
        def train(x: Any, y: Any) -> Any:
            with self._tf.GradientTape() as tape:
                outputs = model(x, training=True)
                value = sum(poisson(y[head], outputs[head]) for head in y)
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            return value

        return self._runner(lambda: train(x, y))
