"""``nano doctor``: looks for what usually goes wrong, and says what to do about it."""

from __future__ import annotations

import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from nanocore.cli.output import print_value
from nanocore.cli.session import Session
from nanocore.errors import NanoError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``remedy`` is empty when it is well."""

    subject: str
    is_well: bool
    text: str
    remedy: str = ""


@click.command("doctor", help="Check this node and the API, and say what to do.")
@click.pass_obj
def command(session: Session) -> None:
    """Print every finding; fail if one is not well."""
    findings = [*_check_programs(), _check_name(), *_check_api(session)]
    if session.output == "table":
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.is_well else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {finding.subject}: {finding.text}")
            if finding.remedy:
                click.echo(f"      {finding.remedy}")
    else:
        print_value([asdict(finding) for finding in findings], session.output)
    if not all(finding.is_well for finding in findings):
        raise click.exceptions.Exit(1)


def _check_programs() -> list[Finding]:
    needed = {
        "qemu-system-x86_64": "qemu-system-x86",
        "qemu-img": "qemu-utils",
        "dnsmasq": "dnsmasq-base",
        "nft": "nftables",
    }
    findings = []
    for program, package in needed.items():
        path = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        remedy = "" if path else f"a cell needs it: apt-get install {package}"
        findings.append(Finding(program, path is not None, path or "not found", remedy))
    kvm = Path("/dev/kvm")
    text = "present; the cell probes whether it works" if kvm.exists() else "absent: guests run by software emulation"
    findings.append(Finding("/dev/kvm", is_well=True, text=text))
    return findings


def _check_name() -> Finding:
    name = socket.gethostname()
    return Finding("host name", bool(name), name or "none", "" if name else "set one: hostnamectl set-hostname NAME")


def _check_api(session: Session) -> list[Finding]:
    try:
        system = session.client.get("/system")
        problems = system.get("problems", [])
        plugins = session.client.get("/plugins")
    except NanoError as error:
        remedy = "start it: systemctl start nano-kernel, or ./quickstart"
        return [Finding("API", is_well=False, text=error.message, remedy=remedy)]
    found = [Finding("API", is_well=True, text=f"{system['name']} {system['version']} answers")]
    found += [
        Finding(item["kind"], is_well=False, text=item["text"], remedy=f"look at: nano {item['kind']} list")
        for item in problems
    ]
    items = plugins["items"] if isinstance(plugins, dict) else plugins
    enabled = sum(item["state"] == "enabled" for item in items)
    return [*found, Finding("plugins", is_well=True, text=f"{enabled} of {len(items)} enabled")]
