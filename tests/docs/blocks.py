"""Fenced blocks of a Markdown page. Pure.

What a block is for is said where a reader sees it too: its language, and the line above it. A line that ends with a
path in backticks and a colon makes the block that file. A comment ``<!-- not run: REASON -->`` is for what no test can
do. A ``text`` block directly below an ``sh`` block is what that prints; ``…`` stands for anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = frozenset({"sh", "python", "toml", "json", "text"})
_FENCE = re.compile(r"^```(\S*)\s*$")
_FILE = re.compile(r"`([\w./-]+\.\w+)`[:\uff1a]$")
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``line`` is that of its fence, from 1."""

    page: str
    line: int
    language: str
    text: str
    file: str | None = None
    """What the block is the content of."""
    not_run: str | None = None
    """Why it can't be run."""
    expected: str | None = None
    """What it prints, for ``sh``."""

    @property
    def place(self) -> str:
        """Return where it is, as editors take it."""
        return f"{self.page}:{self.line}"


def read_blocks(page: str, text: str) -> list[Block]:
    """Return the blocks of a page; raise ``ValueError`` for a fence that is not closed."""
    blocks: list[Block] = []
    lines = text.splitlines()
    index, above, is_adjacent = 0, "", False
    while index < len(lines):
        fence = _FENCE.match(lines[index])
        if fence is None:
            if lines[index].strip():
                above, is_adjacent = lines[index].strip(), False
            index += 1
            continue
        end = next((number for number in range(index + 1, len(lines)) if lines[number] == "```"), None)
        if end is None:
            raise ValueError(f"{page}:{index + 1}: the block is never closed")
        block = _block(page, index + 1, fence[1], "\n".join(lines[index + 1 : end]) + "\n", above)
        if is_adjacent and block.language == "text" and blocks[-1].language == "sh":
            blocks[-1] = _with_output(blocks[-1], block.text)
        blocks.append(block)
        index, above, is_adjacent = end + 1, "", True
    return blocks


def _block(page: str, line: int, language: str, text: str, above: str) -> Block:
    file, not_run = _FILE.search(above), _NOT_RUN.match(above)
    return Block(page, line, language, text, file and file[1], not_run and not_run[1])


def _with_output(block: Block, expected: str) -> Block:
    return Block(block.page, block.line, block.language, block.text, block.file, block.not_run, expected)


def is_as_expected(expected: str, printed: str) -> bool:
    """Return whether what was printed is what a page shows; widths of columns do not matter."""
    words = [".*?" if word == "…" else re.escape(word).replace("…", r"\S*") for word in expected.split()]
    return re.fullmatch(r"\s*".join(words), printed.strip(), re.DOTALL) is not None


def pages(root: Path) -> list[Path]:
    """Return every page that a newcomer reads."""
    found = [root / "README.md", root / "CONTRIBUTING.md"]
    found += sorted(path for path in (root / "docs").rglob("*.md") if "_build" not in path.parts)
    return found + sorted((root / "examples").glob("*/README.md"))
