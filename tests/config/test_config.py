"""Configuration: what is read from where, and what every error says."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from nanocore.config import KernelConfig, read_files, render_markdown, render_toml, setting
from nanocore.errors import ConfigError, ErrorCode


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Toy:
    colour: Colour = setting(Colour.RED, "Paint.")
    count: int = setting(3, "How many.", minimum=1)
    ratio: float = setting(0.5, "Share.")
    paths: list[Path] = setting([], "Where.")  # type: ignore[assignment]
    labels: dict[str, str] = setting({}, "Names.")
    note: str | None = setting(None, "Free text.")
    mode: str = setting("a", "Way.", choices=("a", "b"))
    is_on: bool = setting(default=True, doc="Switch.")

    def __post_init__(self) -> None:
        if self.note == "bad":
            raise ValueError("note can't be bad")


def write(root: Path, name: str, text: str) -> Path:
    path = root / "etc" / "nano" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(root: Path, text: str) -> str:
    write(root, "nano.toml", text)
    with pytest.raises(ConfigError) as caught:
        files = read_files(root)
        files.refuse_unknown(["toy", "kernel"])
        files.section("toy", Toy)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "nano.toml" in caught.value.message
    return caught.value.message


def test_no_file_means_defaults(tmp_path: Path) -> None:
    files = read_files(tmp_path)
    assert files.section("toy", Toy) == Toy()
    assert files.section("kernel", KernelConfig) == KernelConfig()


def test_later_files_win_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, "nano.toml", "[toy]\ncount = 5\nratio = 2\n[kernel]\nname = 'a'\n")
    write(tmp_path, "conf.d/20-b.toml", "[toy]\ncount = 7\n")
    write(tmp_path, "conf.d/10-a.toml", "[toy]\ncount = 6\nmode = 'b'\n")
    write(tmp_path, "plugins.d/hello.toml", "[toy]\nnote = 'x'\n")
    files = read_files(tmp_path)
    toy = files.section("toy", Toy)
    assert (toy.count, toy.ratio, toy.mode, toy.note) == (7, 2.0, "b", "x")
    assert files.enabled == ("hello",)
    assert [path.name for path in files.files] == ["nano.toml", "10-a.toml", "20-b.toml", "hello.toml"]


def test_every_type_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        "nano.toml",
        '[toy]\ncolour = "blue"\npaths = ["/a", "/b"]\nis_on = false\n[toy.labels]\nx = "y"\n',
    )
    toy = read_files(tmp_path).section("toy", Toy)
    assert toy.colour is Colour.BLUE
    assert toy.paths == [Path("/a"), Path("/b")]
    assert toy.labels == {"x": "y"}
    assert toy.is_on is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[toy]\ncuont = 1\n", "toy.cuont: unknown setting; did you mean count?"),
        ("[tyo]\ncount = 1\n", "unknown section [tyo]; did you mean toy?"),
        ("[tyo]\n", "unknown section [tyo]; did you mean toy?"),
        ("count = 1\n", "stands outside of any section"),
        ("[toy\n", "not valid TOML"),
        ("[toy]\ncount = 'x'\n", "toy.count: must be a whole number, not 'x'"),
        ("[toy]\ncount = true\n", "toy.count: must be a whole number, not True"),
        ("[toy]\ncount = 0\n", "toy.count: 0 is too small; at least 1"),
        ("[toy]\nis_on = 1\n", "toy.is_on: must be true or false, not 1"),
        ("[toy]\nratio = 'x'\n", "toy.ratio: must be a number"),
        ("[toy]\nmode = 'c'\n", "toy.mode: 'c' is none of: a, b"),
        ("[toy]\ncolour = 'green'\n", "toy.colour: 'green' is none of: red, blue"),
        ("[toy]\npaths = 'x'\n", "toy.paths: must be a list, each item a path in quotes"),
        ("[toy]\npaths = [1]\n", "toy.paths: must be a path in quotes, not 1"),
        ("[toy]\nlabels = 'x'\n", "toy.labels: must be a table"),
        ("[toy]\nnote = 3\n", "toy.note: must be text in quotes, not 3"),
        ("[toy]\nnote = 'bad'\n", "toy: note can't be bad"),
    ],
)
def test_an_error_names_file_key_and_remedy(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)


def test_a_list_of_choices(tmp_path: Path) -> None:
    write(tmp_path, "nano.toml", '[kernel]\nroles = ["core", "hypervisor"]\n')
    with pytest.raises(ConfigError, match=r"kernel\.roles: 'hypervisor' is none of: core, cell"):
        read_files(tmp_path).section("kernel", KernelConfig)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    write(tmp_path, "nano.toml", "").write_bytes(b"\xff\xfe[toy]")
    with pytest.raises(ConfigError, match=r"nano\.toml: can't be read"):
        read_files(tmp_path)


def test_given_values_win_and_are_named(tmp_path: Path) -> None:
    write(tmp_path, "nano.toml", "[toy]\ncount = 5\n")
    files = read_files(tmp_path).with_values({"toy": {"count": 9}}, file="--set")
    assert files.section("toy", Toy).count == 9
    with pytest.raises(ConfigError, match=r"--set: toy\.count"):
        read_files(tmp_path).with_values({"toy": {"count": "x"}}, file="--set").section("toy", Toy)


def test_the_rendered_file_is_toml_and_means_the_defaults(tmp_path: Path) -> None:
    text = render_toml([("toy", Toy), ("kernel", KernelConfig)])
    assert tomllib.loads(text) == {"toy": {}, "kernel": {}}
    uncommented = "\n".join(
        line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ") and not line.endswith(" =")
    )
    write(tmp_path, "nano.toml", uncommented)
    assert read_files(tmp_path).section("toy", Toy) == Toy()
    assert read_files(tmp_path).section("kernel", KernelConfig) == KernelConfig()


def test_the_rendered_table_has_every_setting() -> None:
    text = render_markdown([("toy", Toy)])
    for row in ("| `colour` |", "| `note` | text in quotes | not set |", "At least 1.", "One of: a, b."):
        assert row in text
