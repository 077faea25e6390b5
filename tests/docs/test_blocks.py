"""The reader of blocks, and what every page must keep."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.blocks import LANGUAGES, Block, is_as_expected, pages, read_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [str(path.relative_to(ROOT)) for path in pages(ROOT)]
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
MAP_LINES = 80

PAGE = """
Write `a/b.toml`:

```toml
x = 1
```

```sh
nano thing list
```

```text
NAME  ID
one   …
```

<!-- not run: it ends this machine -->
```sh
poweroff
```
"""


def blocks_of(page: str) -> list[Block]:
    return read_blocks(page, (ROOT / page).read_text(encoding="utf-8"))


def test_blocks_are_found() -> None:
    file, command, output, skipped = read_blocks("page.md", PAGE)
    assert (file.language, file.file, file.text, file.place) == ("toml", "a/b.toml", "x = 1\n", "page.md:4")
    assert (command.text, command.file, command.not_run) == ("nano thing list\n", None, None)
    assert command.expected == output.text == "NAME  ID\none   …\n"
    assert skipped.not_run == "it ends this machine"


def test_a_block_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"page\.md:2"):
        read_blocks("page.md", "text\n```sh\nls\n")


def test_expected_output() -> None:
    assert is_as_expected("NAME  ID\none   …", "NAME ID\none 5\ntwo 6\n")
    assert is_as_expected("id: 5… ok", "id: 52 ok")
    assert not is_as_expected("NAME ID", "NAME ID\none")
    assert not is_as_expected("one two", "one three")


@pytest.mark.parametrize("page", PAGES)
def test_blocks_have_a_language_that_the_tests_know(page: str) -> None:
    for block in blocks_of(page):
        if block.language == "{toctree}" and page == "docs/index.md":
            continue
        assert block.language in LANGUAGES, f"{block.place}: one of {', '.join(sorted(LANGUAGES))}"
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = unquote(link).partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if heading:
            assert heading in headings(target), f"{page}: {link}"


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_pages_begin_with_what_they_are_for(page: str) -> None:
    lines = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.strip()]
    assert lines[0].startswith("# "), f"{page}: begins with its title"
    first = next(line for line in lines[1:] if not line.startswith("<!--"))
    opens_with_a_map = page == "CONTRIBUTING.md" and first.startswith("## ")
    assert opens_with_a_map or not first.startswith(("#", "```", "|")), f"{page}: first say what the page is for"


def test_the_map_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= MAP_LINES


def test_places_in_the_map_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for place in re.findall(r"`((?:nanocore|nanoplugins|bench|examples|docs|tests|etc)/[\w./-]*)`", text):
        assert (ROOT / place).exists(), place


def test_every_plugin_is_in_the_map() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for plugin in sorted((ROOT / "nanoplugins").glob("*/plugin.py")):
        assert re.search(rf"\b{plugin.parent.name}\b", text), f"the map does not say what {plugin.parent.name} is for"


@pytest.mark.parametrize("page", [page for page in PAGES if "zh-CN" in page])
def test_a_chinese_paragraph_is_one_line(page: str) -> None:
    """A line break within it would be shown as a space."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert re.findall(r"^[^\n|#<].*\n(?=[^\n|#<!-]).*$", text, re.MULTILINE) == []
