"""What a guest boots: the distribution's kernel for virtual machines and an initramfs around busybox.

Both come out of packages that are unpacked but not installed: a kernel would become the host's own at its next
boot, and busybox-static would take the place of an installed busybox.
"""

import hashlib
import lzma
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import packages
from .errors import LabError

_HERE = Path(__file__).parent
_META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")  # Debian's name, Ubuntu's name
# In loading order. A kernel that has one built in ships no file for it.
_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_balloon",
    "virtio_mem",
    "virtio_console",
)
_BLOCK_BYTES = 2**20 - 1  # see `repeat` in guest-init


def build(directory: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Write `vmlinuz` and `initramfs` to `directory`; `cache` keeps the packages from one lab to the next."""
    # What it holds depends on the list of modules, which may have changed since.
    kernel = cache / f"kernel-{hashlib.sha256(repr(_MODULES).encode()).hexdigest()[:8]}"
    if not kernel.exists():
        _fetch_kernel(kernel, say)
    busybox = packages.unpacked("busybox-static", cache)
    shutil.copy(kernel / "vmlinuz", directory / "vmlinuz")
    tree = directory / "tree"
    _lay_out(tree, kernel, busybox)
    _pack(tree, directory / "initramfs")
    shutil.rmtree(tree)


def _fetch_kernel(kernel: Path, say: Callable[[str], None]) -> None:
    """Make `kernel` a directory of `vmlinuz` and numbered `modules/*.ko`, complete or not at all."""
    name = _kernel_package() or _kernel_package(after_refresh=True)
    if name is None:
        raise LabError(f"apt knows none of {', '.join(_META_PACKAGES)}; the lab runs on Debian and Ubuntu, amd64")
    say(f"fetching {name} (unpacked under {kernel.parent}, not installed)")
    partial = kernel.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    unpacked = partial / "unpacked"
    packages.unpack(name, unpacked)
    if "-cloud-" not in name:  # Ubuntu ships the modules apart
        packages.unpack(name.replace("linux-image-", "linux-modules-"), unpacked)
    (vmlinuz,) = unpacked.glob("boot/vmlinuz-*")
    vmlinuz.rename(partial / "vmlinuz")
    _collect_modules(unpacked, partial / "modules")
    shutil.rmtree(unpacked)
    partial.rename(kernel)


def _kernel_package(*, after_refresh: bool = False) -> str | None:
    if after_refresh:
        packages.refresh()
    for meta in _META_PACKAGES:
        for name in packages.dependencies(meta):
            if re.match(r"linux-image-\d", name):
                return name
    return None


def _collect_modules(unpacked: Path, modules: Path) -> None:
    modules.mkdir()
    for position, name in enumerate(_MODULES):
        for source in unpacked.glob(f"**/kernel/**/{name}.ko*"):
            module = modules / f"{position}-{name}.ko"
            match source.suffix:  # the busybox insmod reads plain modules only
                case ".xz":
                    module.write_bytes(lzma.decompress(source.read_bytes()))
                case ".zst":
                    module.write_bytes(_output("zstd", "-dc", str(source)))
                case _:
                    shutil.copy(source, module)


def _lay_out(tree: Path, kernel: Path, busybox: Path) -> None:
    for name in ("bin", "dev", "proc", "sys"):
        (tree / name).mkdir(parents=True)
    shutil.copy(_HERE / "guest-init", tree / "init")
    (program,) = busybox.glob("**/bin/busybox")
    shutil.copy(program, tree / "bin/busybox")
    shutil.copytree(kernel / "modules", tree / "modules")
    (tree / "same").write_bytes(random.Random(0).randbytes(_BLOCK_BYTES))
    (tree / "zero").write_bytes(bytes(_BLOCK_BYTES))


def _pack(tree: Path, archive: Path) -> None:
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    archive.write_bytes(_output("cpio", "--quiet", "-o", "-H", "newc", feed=names.encode(), cwd=tree))


def _output(*command: str, feed: bytes | None = None, cwd: Path | None = None) -> bytes:
    done = subprocess.run(command, input=feed, capture_output=True, check=False, cwd=cwd)
    if done.returncode != 0:
        raise LabError(f"{command[0]}: status {done.returncode}: {done.stderr.decode().strip()}")
    return done.stdout
