"""``nano console``: a guest's serial port in this terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator

import click
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from nanocore.cli.nouns import NOUNS, resolve
from nanocore.cli.session import Session
from nanocore.client.websocket import open_console

ESCAPE = b"\x1d"
"""Ctrl-], as telnet and virsh have it."""
CHUNK_BYTES = 4096
POLL_SECONDS = 0.2
QUIET_SECONDS = 1.0


@click.command("console", help="Open an instance's serial console here; Ctrl-] leaves it.")
@click.argument("reference")
@click.pass_obj
def command(session: Session, reference: str) -> None:
    """Connect standard input and output with the guest's serial port."""
    id = resolve(session, NOUNS["instance"], reference)
    with open_console(session.client, id, "serial") as connection:
        if sys.stdin.isatty():
            click.echo(f"Connected to {reference}; Ctrl-] leaves.", err=True)
        with _raw_terminal():
            _carry(connection)
    if sys.stdin.isatty():
        click.echo("\nLeft the console.", err=True)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Pass every key on, and give the terminal back as it was."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class _Output:
    """Prints what the guest sends, on a thread of its own."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.ended = threading.Event()
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()

    def linger(self) -> None:
        """Return when the guest has been quiet for a moment: piped commands get their answers."""
        while not self.ended.wait(POLL_SECONDS) and time.monotonic() - self._last < QUIET_SECONDS:
            continue

    def join(self) -> None:
        """Wait for the thread."""
        self._thread.join(timeout=2)

    def _print(self) -> None:
        try:
            for message in self._connection:
                data = message.encode() if isinstance(message, str) else message
                self._last = time.monotonic()
                os.write(sys.stdout.fileno(), data)
        except (ConnectionClosed, OSError):
            return
        finally:
            self.ended.set()


def _carry(connection: ClientConnection) -> None:
    output = _Output(connection)
    descriptor = sys.stdin.fileno()
    while not output.ended.is_set():
        ready, _, _ = select.select([descriptor], [], [], POLL_SECONDS)
        if not ready:
            continue
        keys = os.read(descriptor, CHUNK_BYTES)
        if not keys:
            output.linger()
            break
        if ESCAPE in keys:
            break
        connection.send(keys)
    connection.close()
    output.join()
