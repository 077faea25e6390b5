"""Format, types, imports and sizes: what a machine can say about the code."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.static

MAX_FUNCTION_LINES = 80
MAX_MODULE_LINES = 700
SOURCES = [
    path
    for folder in ("nanocore", "nanoplugins", "tests", "bench", "examples", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
]


def run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"


def test_ruff() -> None:
    run("ruff", "check", ".")


def test_format() -> None:
    run("ruff", "format", "--check", ".")


@pytest.mark.timeout(600)
def test_types() -> None:
    run("mypy")


@pytest.mark.timeout(180)
def test_imports() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]


def test_modules_are_short() -> None:
    counts = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in counts.items() if count > MAX_MODULE_LINES} == {}


def test_functions_are_short() -> None:
    long: dict[str, int] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_no_drawer_for_everything() -> None:
    drawers = {"utils.py", "helpers.py", "common.py", "base.py", "manager.py"}
    found = [path for path in SOURCES if path.name in drawers and path.parts[len(ROOT.parts)] != "tests"]
    # The transport's protocol is the one file of that name that the design asks for.
    assert [str(path.relative_to(ROOT)) for path in found] == ["nanocore/transport/base.py"]


def test_plugins_have_their_parts() -> None:
    for folder in sorted((ROOT / "nanoplugins").iterdir()):
        if folder.name.startswith(("_", ".")) or not folder.is_dir():
            continue
        for name in ("__init__.py", "plugin.py", "README.md"):
            assert (folder / name).is_file(), f"{folder.name} lacks {name}"
        body = ast.parse((folder / "__init__.py").read_text()).body
        assert len(body) == 1, f"{folder.name}/__init__.py holds more than a docstring"


def test_importing_starts_nothing() -> None:
    script = "import threading, nanocore.kernel.node, nanocore.cli.kernel; assert threading.active_count() == 1"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_code_is_commented_out_by_conflict_markers() -> None:
    marker = re.compile(r"^(<{7}|>{7}|={7})( |$)", re.MULTILINE)
    assert [str(path) for path in SOURCES if marker.search(path.read_text())] == []


def test_the_kernel_stays_small() -> None:
    """Count code without blank lines, comments and docstrings; ``docs/decisions/0007`` says why this figure."""
    total = sum(_code_lines(path) for path in (ROOT / "nanocore" / "kernel").glob("*.py"))
    assert total <= 2800, f"nanocore/kernel has {total} lines of code; move what is no routing into a package or plugin"


def _code_lines(path: Path) -> int:
    source = path.read_text(encoding="utf-8")
    prose = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in blank
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - prose)
