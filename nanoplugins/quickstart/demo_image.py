"""Builds a small bootable disk image from the distribution's own packages, without mounts and without root.

Kernel and busybox are taken out of their packages (``apt-get download``, ``dpkg -x``); the userland is the files in
``demo/``; from one FAT partition, syslinux boots them for a BIOS and systemd-boot for UEFI.
``python -m nanoplugins.quickstart.demo_image FILE`` builds one.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.quickstart.cpio import Archive

MIB = 1024**2
SECTOR = 512
DISK_BYTES = 64 * MIB
PARTITION_OFFSET = 1 * MIB
FAT16_LBA = 0x0E
BOOT_SIGNATURE = b"\x55\xaa"
BOOT_CODE_BYTES = 440
UEFI_PACKAGE = "systemd-boot-efi"
UEFI_LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
BOOT_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
KERNEL_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")
"""Debian's and Ubuntu's kernel for virtual machines; the first one that the distribution has is taken."""
PROGRAMS = {
    "apt-get": "apt",
    "dpkg": "dpkg",
    "mformat": "mtools",
    "syslinux": "syslinux",
    "qemu-img": "qemu-utils",
}
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_balloon",
    "virtio_rng",
    "virtio_console",
    "evdev",
    "button",
    "virtio_scsi",
    "sr_mod",
    "isofs",
)
"""Loaded at boot where they are not built in; with all that they depend on."""
TIMEOUT_SECONDS = 300.0

Say = Callable[[str], None]


def build(target: Path, say: Say) -> None:
    """Write the demo disk image (qcow2) to ``target``; ``say`` is told what happens.

    Raises ``unavailable`` naming the program that is missing or what a program said.
    """
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=_search_path()) is None:
            raise NanoError(ErrorCode.UNAVAILABLE, f"program {program} is missing; run `apt-get install {package}`")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nano-demo-") as name:
        folder = Path(name)
        say("downloading kernel and busybox from the distribution's packages")
        root = _unpack(folder, [*_kernel_packages(), "busybox-static", UEFI_PACKAGE])
        say("packing the guest's files")
        kernel, version = _kernel(root)
        (folder / "initrd.gz").write_bytes(_initrd(root, version))
        say("making the disk bootable")
        disk = _disk(folder, kernel, root / UEFI_LOADER)
        partial = target.with_suffix(".partial")
        _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), str(partial))
        partial.replace(target)


def modules_in_order(wanted: Iterable[str], needs: Callable[[str], list[str]]) -> list[str]:
    """Return ``wanted`` modules, each after those it needs; pure. ``needs`` names what one module needs directly."""
    order: dict[str, None] = {}
    for name in wanted:
        if name not in order:
            order.update(dict.fromkeys(modules_in_order(needs(name), needs)))
            order[name] = None
    return list(order)


def needed_by(module: bytes) -> list[str]:
    """Return the names of the modules that the one with the content ``module`` says it depends on; pure."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name] if found else []


def partition_table(boot_code: bytes) -> bytes:
    """Return the first sector: ``boot_code`` and one active FAT partition up to the disk's end; pure."""
    first = PARTITION_OFFSET // SECTOR
    count = DISK_BYTES // SECTOR - first
    beyond = b"\xfe\xff\xff"  # cylinder, head and sector of places that they can't express
    entry = struct.pack("<B3sB3sII", 0x80, beyond, FAT16_LBA, beyond, first, count)
    return boot_code[:BOOT_CODE_BYTES].ljust(BOOT_CODE_BYTES + 6, b"\0") + entry.ljust(64, b"\0") + BOOT_SIGNATURE


def _kernel_packages() -> list[str]:
    for name in KERNEL_PACKAGES:
        try:
            text = _run("apt-cache", "depends", name).decode()
        except NanoError:
            continue
        found = re.findall(r"Depends: (linux-(?:image|modules)-\d\S+)", text)
        if found:
            # Ubuntu's image package keeps its modules in a package of their own.
            images = [each for each in found if each.startswith("linux-image-")]
            modules = [each.replace("linux-image-", "linux-modules-", 1) for each in images]
            return images if name == KERNEL_PACKAGES[0] else [*images, *modules]
    raise NanoError(
        ErrorCode.UNAVAILABLE,
        f"the package lists have none of {', '.join(KERNEL_PACKAGES)}; run `apt-get update` "
        "(Debian 12 or 13 or Ubuntu 24.04 on amd64 is needed)",
    )


def _unpack(folder: Path, packages: list[str]) -> Path:
    root = folder / "root"
    root.mkdir()
    # apt's own user may write here, else it complains.
    folder.chmod(0o755)
    downloads = folder / "downloads"
    downloads.mkdir()
    if os.geteuid() == 0:
        shutil.chown(downloads, "_apt")
    _run("apt-get", "-q", "download", *packages, where=downloads)
    for package in sorted(downloads.glob("*.deb")):
        _run("dpkg", "-x", str(package), str(root))
    return root


def _kernel(root: Path) -> tuple[Path, str]:
    kernels = sorted((root / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise NanoError(
            ErrorCode.UNAVAILABLE, "the kernel's package holds no /boot/vmlinuz-*; build the image on Debian"
        )
    return kernels[-1], kernels[-1].name.removeprefix("vmlinuz-")


def _initrd(root: Path, version: str) -> bytes:
    archive = Archive()
    archive.add_console()
    for name in ("proc", "sys", "root", "run", "tmp"):
        archive.add_folder(name)
    busybox = next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists())
    archive.add_file("bin/busybox", busybox.read_bytes(), 0o755)
    for applet in _run(str(busybox), "--list-full").decode().split():
        if applet not in {"bin/busybox", "linuxrc"}:
            archive.add_link(applet.removeprefix("usr/"), "/bin/busybox")
    files = Path(__file__).parent / "demo"
    for name, path, mode in (
        ("inittab", "etc/inittab", 0o644),
        ("rcS", "etc/rcS", 0o755),
        ("profile", "etc/profile", 0o644),
        ("udhcpc.sh", "etc/udhcpc.sh", 0o755),
        ("power-button", "etc/acpi/PWRF/00000080", 0o755),
        ("index.cgi", "www/cgi-bin/index.cgi", 0o755),
    ):
        archive.add_file(path, (files / name).read_bytes(), mode)
    modules = _modules(root, version)
    for name, content in modules.items():
        archive.add_file(f"lib/modules/{name}.ko", content)
    archive.add_file("lib/modules/order", "".join(f"{name}.ko\n" for name in modules).encode())
    return gzip.compress(archive.to_bytes(), mtime=0)


def _modules(root: Path, version: str) -> dict[str, bytes]:
    """Return the wanted modules and what they need, in the order of loading; built-in ones have no file."""
    base = root if (root / "lib/modules" / version).exists() else root / "usr"
    found = (base / "lib/modules" / version).rglob("*.ko*")
    paths = {path.name.partition(".")[0].replace("-", "_"): path for path in found}
    contents: dict[str, bytes] = {}

    def needs(name: str) -> list[str]:
        contents[name] = _uncompressed(paths[name])
        return [each for each in needed_by(contents[name]) if each in paths]

    return {name: contents[name] for name in modules_in_order([each for each in MODULES if each in paths], needs)}


def _uncompressed(module: Path) -> bytes:
    if module.suffix == ".xz":
        return lzma.decompress(module.read_bytes())
    if module.suffix == ".zst":
        return _run("zstd", "-dcq", str(module))
    return module.read_bytes()


def _disk(folder: Path, kernel: Path, loader: Path) -> Path:
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.write(partition_table(BOOT_CODE.read_bytes()))
        file.truncate(DISK_BYTES)
    sectors = (DISK_BYTES - PARTITION_OFFSET) // SECTOR
    partition = f"{disk}@@{PARTITION_OFFSET}"
    hidden = PARTITION_OFFSET // SECTOR
    _run(
        "mformat",
        "-i",
        partition,
        "-T",
        str(sectors),
        "-h",
        "255",
        "-s",
        "63",
        "-H",
        str(hidden),
        "-v",
        "NANODEMO",
        "::",
    )
    _run("mmd", "-i", partition, "::EFI", "::EFI/BOOT", "::loader", "::loader/entries")
    files = Path(__file__).parent / "demo"
    for source, name in (
        (kernel, "vmlinuz"),
        (folder / "initrd.gz", "initrd.gz"),
        (files / "syslinux.cfg", "syslinux.cfg"),
        (loader, "EFI/BOOT/BOOTX64.EFI"),
        (files / "uefi.conf", "loader/entries/demo.conf"),
    ):
        _run("mcopy", "-i", partition, str(source), f"::{name}")
    _run("syslinux", "--install", "--offset", str(PARTITION_OFFSET), str(disk))
    return disk


def _search_path() -> str:
    # A plain user's PATH leaves these folders out.
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def _run(*command: str, where: Path | None = None) -> bytes:
    environment = os.environ | {"PATH": _search_path(), "LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1"}
    try:
        done = subprocess.run(
            command, cwd=where, env=environment, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise NanoError(ErrorCode.UNAVAILABLE, f"program {command[0]} is missing; install it with apt-get") from error
    except subprocess.TimeoutExpired as error:
        raise NanoError(ErrorCode.UNAVAILABLE, f"{command[0]} did not end within {TIMEOUT_SECONDS:g} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise NanoError(ErrorCode.UNAVAILABLE, f"`{' '.join(command)}` failed: {said[-500:]}")
    return done.stdout


if __name__ == "__main__":
    build(Path(sys.argv[1]), lambda text: print(text, file=sys.stderr))  # noqa: T201  a command-line program
