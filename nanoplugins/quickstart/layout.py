"""Where this installation keeps things, and what of the machine it uses; pure but for reading the configuration."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 5870


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything below one root, as ``nano-kernel --root`` has it."""

    root: Path

    def make_passable(self) -> None:
        """Make the folders above our own, where they are missing, so that a guest's QEMU, another user, can pass."""
        for name in ("", "etc", "var", "var/lib", "var/log", "run"):
            folder = self.root / name
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(0o755)

    @property
    def config(self) -> Path:
        """Configuration and keys."""
        return self.root / "etc/nano"

    @property
    def state(self) -> Path:
        """What survives restarts."""
        return self.root / "var/lib/nano"

    @property
    def run(self) -> Path:
        """Sockets and locks; the kernel makes it a link where the path would be too long for a socket."""
        return (self.root / "run/nano").resolve()

    @property
    def logs(self) -> Path:
        """The kernel's log, where no service manager keeps it."""
        return self.root / "var/log/nano"

    @property
    def own(self) -> Path:
        """What this program itself keeps: the demo image, libvirtd's files, notes for the next call."""
        return self.state / "quickstart"

    @property
    def socket(self) -> Path:
        """The API for root on this machine."""
        return self.run / "api.sock"

    @property
    def ready(self) -> Path:
        """Written by the kernel when its services are up, removed when it stops."""
        return self.run / "ready"

    @property
    def password_file(self) -> Path:
        """The administrator's first password."""
        return self.state / "identity_local/admin-password"

    @property
    def certificate(self) -> Path:
        """What a client checks the API's certificate against."""
        return self.state / "restapi/tls/cert.pem"

    @property
    def unit(self) -> str:
        """The name of the systemd service; one a root."""
        if self.root == Path("/"):
            return "nano-kernel.service"
        return f"nano-kernel-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}.service"

    @property
    def options(self) -> str:
        """What commands for people need beyond their name: nothing for the default root."""
        return "" if self.root == Path("/") else f" --root {self.root}"

    def program(self, name: str) -> Path:
        """Return the path of ``nano`` or ``nano-kernel`` in this checkout's environment."""
        return CHECKOUT / ".venv/bin" / name

    def setting(self, section: str, key: str, default: Any) -> Any:  # noqa: ANN401  TOML
        """Return one setting as the kernel would read it, for what is shown to people."""
        value = default
        files = [self.config / "nano.toml", *sorted((self.config / "conf.d").glob("*.toml"))]
        for file in (*files, *sorted((self.config / "plugins.d").glob("*.toml"))):
            try:
                value = tomllib.loads(file.read_text(encoding="utf-8")).get(section, {}).get(key, value)
            except (OSError, tomllib.TOMLDecodeError, AttributeError):
                continue  # the kernel refuses it with the reason; nothing to add here
        return value

    def port(self) -> int:
        """Return the port of portal and API."""
        return int(self.setting("restapi", "port", DEFAULT_PORT))
