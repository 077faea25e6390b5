"""A real Debian as a disk image: cloud-init, SSH and QEMU's guest agent, made with mmdebstrap in about two minutes.

It boots by BIOS: syslinux on a FAT partition, the system on the last partition, so that it can grow. Nothing is
mounted. ``python tests/system/debian_image.py FILE`` builds one by hand.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

MIB = 1024**2
SECTOR = 512
BOOT_OFFSET, ROOT_OFFSET = 1 * MIB, 64 * MIB
DISK_BYTES = 1280 * MIB
SUITE = "bookworm"
PACKAGES = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "systemd-resolved",
    "libnss-resolve",
    "udev",
    "dbus",
    "cloud-init",
    "cloud-guest-utils",
    "openssh-server",
    "qemu-guest-agent",
    "e2fsprogs",
    "iproute2",
    "netbase",
    "sudo",
)
UNUSED = ("doc", "man", "info", "locale")
SERVICES_OFF = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
)
SYSLINUX = """\
default linux
prompt 0
timeout 1
label linux
  kernel vmlinuz
  append initrd=initrd root=LABEL=nano-root ro console=tty0 console=ttyS0 quiet
"""
FILES = {
    "etc/cloud/cloud.cfg.d/90-nano.cfg": "datasource_list: [ NoCloud, None ]\n",
    "etc/initramfs-tools/conf.d/nano": "MODULES=list\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
    "etc/fstab": "LABEL=nano-root / ext4 defaults 0 1\n",
    "etc/cloud/cloud.cfg.d/91-locale.cfg": "locale: C.UTF-8\n",
    "etc/hostname": "debian\n",
}


def build(target: Path) -> None:
    """Write the image (qcow2) to ``target``; needs root, mmdebstrap, e2fsprogs, mtools, syslinux and qemu-img."""
    with tempfile.TemporaryDirectory(prefix="nano-debian-") as name:
        folder = Path(name)
        root = folder / "root"
        _install(folder, root)
        disk = folder / "disk.raw"
        with disk.open("wb") as file:
            file.write(_first_sector())
            file.truncate(DISK_BYTES)
        _add_boot(folder, root, disk)
        _add_system(folder, root, disk)
        partial = target.with_suffix(".partial")
        _run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(partial))
        partial.replace(target)


def _install(folder: Path, root: Path) -> None:
    for path, text in FILES.items():
        file = folder / "files" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    services = " ".join(SERVICES_OFF)
    _run(
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        '--aptopt=Acquire::Retries "3"',
        *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in UNUSED),
        f"--essential-hook=copy-in {folder}/files/etc /",
        f"--customize-hook=copy-in {folder}/files/etc /",
        '--customize-hook=chroot "$1" systemctl enable systemd-networkd systemd-resolved',
        f'--customize-hook=chroot "$1" systemctl mask {services}',
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*; : >"$1"/etc/machine-id',
        SUITE,
        str(root),
    )


def _first_sector() -> bytes:
    code = Path("/usr/lib/syslinux/mbr/mbr.bin").read_bytes()[:440].ljust(446, b"\0")
    beyond = b"\xfe\xff\xff"
    table = b""
    for flag, kind, first, end in ((0x80, 0x0E, BOOT_OFFSET, ROOT_OFFSET), (0, 0x83, ROOT_OFFSET, DISK_BYTES)):
        table += struct.pack("<B3sB3sII", flag, beyond, kind, beyond, first // SECTOR, (end - first) // SECTOR)
    return code + table.ljust(64, b"\0") + b"\x55\xaa"


def _add_boot(folder: Path, root: Path, disk: Path) -> None:
    partition = f"{disk}@@{BOOT_OFFSET}"
    sectors, hidden = str((ROOT_OFFSET - BOOT_OFFSET) // SECTOR), str(BOOT_OFFSET // SECTOR)
    _run("mformat", "-i", partition, "-T", sectors, "-h", "255", "-s", "63", "-H", hidden, "::")
    (folder / "syslinux.cfg").write_text(SYSLINUX)
    kernel = next((root / "boot").glob("vmlinuz-*"))
    initrd = next((root / "boot").glob("initrd.img-*"))
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd"), (folder / "syslinux.cfg", "syslinux.cfg")):
        _run("mcopy", "-i", partition, str(source), f"::{name}")
    _run("syslinux", "--install", "--offset", str(BOOT_OFFSET), str(disk))


def _add_system(folder: Path, root: Path, disk: Path) -> None:
    system = folder / "system.ext4"
    size = f"{(DISK_BYTES - ROOT_OFFSET) // MIB}M"
    _run("mke2fs", "-q", "-t", "ext4", "-L", "nano-root", "-d", str(root), str(system), size)
    seek = f"seek={ROOT_OFFSET // MIB}"
    _run("dd", f"if={system}", f"of={disk}", "bs=1M", seek, "conv=notrunc,sparse", "status=none")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}"


if __name__ == "__main__":
    build(Path(sys.argv[1]))
