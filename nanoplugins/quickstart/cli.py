"""``nano demo-image``."""

from __future__ import annotations

from pathlib import Path

import click

from nanoplugins.quickstart.demo_image import build


@click.command("demo-image")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def demo_image(file: Path) -> None:
    """Build a small bootable disk image (qcow2) and write it to FILE.

    Its guest gets an address by DHCP, serves a page on port 80 and offers a shell on screen and serial port.
    """
    build(file, lambda text: click.echo(text, err=True))
    click.echo(file)
