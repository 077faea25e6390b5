"""Runs the rows of ``bench/rows``, each in a process of its own, and prints a table or JSON lines."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.figure import NotMeasuredError, Size

ROWS = Path(__file__).parent / "rows"
ROOT = Path(__file__).parents[1]
SMALL_SECONDS = 120
FULL_SECONDS = 1800
CLEAN_UP_SECONDS = 30
SKIPPED = "not measured here"
NOT_MEASURED = 75
"""Exit code of a row that this machine can't measure (``EX_TEMPFAIL``)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("rows", nargs="*", help="names of rows; default: all")
    parser.add_argument("--json", action="store_true", help="print JSON lines only")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--full", dest="size", action="store_const", const=Size.FULL, help="real sizes, not small ones")
    sizes.add_argument("--tiny", dest="size", action="store_const", const=Size.TINY, help=argparse.SUPPRESS)
    parser.set_defaults(size=Size.SMALL)
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    known = sorted(path.stem for path in ROWS.glob("*.py") if path.stem != "__init__")
    unknown = sorted(set(arguments.rows) - set(known))
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; there are: {', '.join(known)}")
    if arguments.in_process:
        return measure_here(arguments.rows[0], arguments.size)
    return run_all(arguments.rows or known, arguments.size, is_json=arguments.json)


def measure_here(row: str, size: Size) -> int:
    module = importlib.import_module(f"bench.rows.{row}")
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # as a node sets them
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a node's loop
        try:
            figures = runner.run(module.measure(size))
        except NotMeasuredError as error:
            print(error, file=sys.stderr)
            return NOT_MEASURED
    for figure in figures:
        print(json.dumps(figure.line()), flush=True)
    return 0


def run_all(rows: list[str], size: Size, *, is_json: bool) -> int:
    lines: list[dict[str, Any]] = []
    failed = 0
    for row in rows:
        begun = time.monotonic()
        if not is_json:
            print(f"measuring {row} ...", file=sys.stderr, flush=True)
        found, error = run_one(row, size)
        lines += found
        if error:
            failed += not error.startswith(SKIPPED)
            print(f"row {row} after {time.monotonic() - begun:.0f} s: {error}", file=sys.stderr)
        if is_json:
            for line in found:
                print(json.dumps(line), flush=True)
    if not is_json:
        print_table(lines)
    return 1 if failed else 0


def run_one(row: str, size: Size) -> tuple[list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "bench.runner", row, "--in-process", *size.of(["--tiny"], [], ["--full"])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        output, errors = wait_for(process, size.of(SMALL_SECONDS, SMALL_SECONDS, FULL_SECONDS))
    figures = [line for text in output.splitlines() if text.startswith("{") and "ratio" in (line := json.loads(text))]
    last = errors.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
    if process.returncode == NOT_MEASURED:
        return figures, f"{SKIPPED}: {last[0]}"
    return figures, "" if process.returncode == 0 else f"it failed: {errors.strip()[-2000:] or last[0]}"


def wait_for(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """Return what the row wrote. One that is too slow is interrupted, so that it ends what it started itself."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=CLEAN_UP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    return output, f"{errors}\nit took longer than {seconds:g} s"


def print_table(lines: list[dict[str, Any]]) -> None:
    head = ("figure", "value", "bare", "unit", "ratio", "goal", "")
    rows = [
        (
            line["name"],
            f"{line['value']:,.4g}" if line["value"] < 1000 else f"{line['value']:,.0f}",
            f"{line['limit']:,.4g}" if line["limit"] < 1000 else f"{line['limit']:,.0f}",
            line["unit"],
            f"{line['ratio']:.2f}",
            line["goal"],
            {True: "met", False: "MISSED", None: ""}[line["met"]],
        )
        for line in lines
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, tuple("-" * width for width in widths), *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
    missed = [line for line in lines if line["met"] is False]
    print(f"\n{len(missed)} of {sum(line['met'] is not None for line in lines)} goals missed" + ":" * bool(missed))
    reasons: dict[str, list[str]] = {}
    for line in missed:
        reasons.setdefault(line.get("why", "no reason known; profile it"), []).append(
            f"{line['name']} ({line['goal']})"
        )
    for reason, names in reasons.items():
        print("  " + "\n  ".join(names))
        print(textwrap.fill(reason, 110, initial_indent="      ", subsequent_indent="      "))


if __name__ == "__main__":
    sys.exit(main())
