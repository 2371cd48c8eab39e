"""What `benchmarks/accelerator.py` keeps: a row for each figure, and the table of all."""

import itertools
from collections.abc import Mapping
from typing import Any

from operations import Sizes, operations

PEER = "enformer-pytorch"
SIDES = {"ours": "ours", "peer": PEER}

Row = dict[str, Any]


def step_row(
    side: str, what: str, precision: str, batch: int, *, rematerialized: bool = False, kind: str = ""
) -> Row:
    """Names a step. Of batch 0 the largest is to be found."""
    key = f"{SIDES[side]} {precision} {what}"
    key += f" {kind}" if kind else ""
    key += " rematerialized" if rematerialized else ""
    key += f" batch {batch or 'largest'}"
    row: Row = {"key": key, "side": side, "what": what, "precision": precision, "batch": batch}
    return {**row, "rematerialized": rematerialized, **({"kind": kind} if kind else {})}


def is_measured(row: Row | None) -> bool:
    """Says whether a row has its figures."""
    return row is not None and "failed" not in row and ("seconds" in row or bool(row.get("rates")))


def rate_of(rows: dict[str, Row], precision: str) -> float | None:
    """Returns the device's rate of products: that of the library that multiplies fastest."""
    rates = [rows.get(f"device {side}", {}).get("rates", {}).get(precision) for side in SIDES]
    return max((rate for rate in rates if rate is not None), default=None)


def per_second(row: Row) -> float:
    """Returns windows, or alleles, a second."""
    return float((row["alleles"] if row["what"] == "score" else row["batch"]) / row["seconds"])


def share(row: Row, rows: dict[str, Row], sizes: Sizes) -> float | None:
    """Returns the share of the measured rate that a forward pass or training step reaches."""
    rate = rate_of(rows, row["precision"])
    if rate is None or row["what"] not in ("forward", "train"):
        return None
    count = operations(sizes, half=row["precision"] == "bfloat16")[row["what"]]
    return count * per_second(row) / rate


def ratios(rows: dict[str, Row]) -> dict[str, float]:
    """Returns times enformer-pytorch: windows or alleles a second, of rows that were both measured."""
    pairs = {
        f"{what}, batch {batch or 'largest'}": [
            step_row(side, what, "bfloat16", batch)["key"] for side in SIDES
        ]
        for what, batch in itertools.product(("forward", "train"), (1, 0))
    }
    theirs = next((key for key in rows if key.startswith(f"{PEER} bfloat16 score")), None)
    for key, row in rows.items():
        if row["what"] == "score" and row["side"] == "ours" and row["precision"] == "bfloat16" and theirs:
            pairs[f"scoring, {row['kind']}"] = [key, theirs]
    return {
        name: per_second(rows[ours]) / per_second(rows[peer])
        for name, (ours, peer) in pairs.items()
        if is_measured(rows.get(ours)) and is_measured(rows.get(peer))
    }


def one_line(row: Row) -> str:
    """Returns a row as it is printed when it is there."""
    if "failed" in row:
        return f"{row['key']}: {row['failed']}"
    if row["what"] == "device":
        rates = ", ".join(f"{name} {rate / 1e12:.4g}" for name, rate in row["rates"].items())
        return f"{row['key']}: {row['card']}; {rates} TFLOP/s"
    if row["what"] == "golden":
        return f"{row['key']}: {row['error']:.1e}"
    unit = "alleles" if row["what"] == "score" else "windows"
    return f"{row['key']}: {1e3 * row['seconds']:.2f} ms, {per_second(row):.4g} {unit}/s"


def table(name: str, rows: dict[str, Row], sizes: Sizes, left_out: Mapping[str, str]) -> str:
    """Returns all figures in Markdown.

    Args:
        name: of the size.
        rows: key -> row.
        sizes: of the model.
        left_out: key -> why it is not among them.
    """
    lines = [f"Size {name}."]
    for side in SIDES:
        row = rows.get(f"device {side}")
        if row is not None:
            versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
            if side == "ours":
                lines.append(f"Card: {row['card']}; driver {row['driver']}; Python {row['python']}.")
            lines.append(f"{SIDES[side]}: {versions}, on {row['platform']}.")
    lines += ["", "| rate | TFLOP/s | error of a product |", "|---|---|---|"]
    for side in SIDES:
        row = rows.get(f"device {side}", {})
        for precision, rate in row.get("rates", {}).items():
            error = row["errors"][precision]
            told = "" if error is None else f"{error:.1e}"
            lines.append(f"| {precision}, {next(iter(row['versions']))} | {rate / 1e12:.4g} | {told} |")
    if "copy" in rows.get("device ours", {}):
        lines.append(f"| copy, TB/s read and written | {rows['device ours']['copy'] / 1e12:.3g} | |")
    lines += ["", "| golden data | largest difference | |", "|---|---|---|"]
    for row in rows.values():
        if row["what"] == "golden":
            passed = {True: "below 1e-4", False: "NOT below 1e-4", None: ""}[row.get("passed")]
            lines.append(
                f"| {row['precision']} | {row.get('failed') or format(row['error'], '.1e')} | {passed} |"
            )
    lines += [
        "",
        "| step | batch | ms | windows/s | share | plan, GiB | peak of the process | compilation, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows.values():
        if row["what"] in ("forward", "train"):
            name = row["key"].partition(" batch ")[0]
            if not is_measured(row):
                lines.append(f"| {name} | {row['batch']} | {row.get('failed', 'not measured')} | | | | | |")
                continue
            if row.get("while_compiling"):
                name += ", while the other side compiled"
            part = share(row, rows, sizes)
            memory = [gib(row["memory"] if row["side"] == "ours" else None), gib(row["peak"])]
            compiled = "cached" if row["compile_s"] is None else f"{row['compile_s']:.0f}"
            lines.append(
                f"| {name} | {row['batch']} | {1e3 * row['seconds']:.2f} | {per_second(row):.4g} "
                f"| {'' if part is None else format(part, '.1%')} | {memory[0]} | {memory[1]} | {compiled} |"
            )
    lines += ["", "| scoring | alleles/s | error | preparation, s |", "|---|---|---|---|"]
    for row in rows.values():
        if row["what"] == "score":
            name = row["key"].partition(" batch ")[0]
            if not is_measured(row):
                lines.append(f"| {name} | {row.get('failed', 'not measured')} | | |")
                continue
            error = format(row["error"], ".1e") if "error" in row else ""
            lines.append(f"| {name} | {per_second(row):.4g} | {error} | {row['compile_s']:.0f} |")
    found = ratios(rows)
    if found:
        lines += ["", f"Times {PEER}: " + "; ".join(f"{name} {ratio:.2f}" for name, ratio in found.items())]
    if left_out:
        lines += ["", "Left out:", *(f"- {key}: {reason}" for key, reason in left_out.items())]
    return "\n".join(lines)


def gib(count: int | None) -> str:
    """Returns bytes as they are printed."""
    return "" if count is None else f"{count / 2**30:.3g}"
