"""A lab: guests under a private libvirtd, in namespaces of their own (see the script `namespace`)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from . import image, smallhost
from .errors import LabError
from .guests import Console, Guest
from .processes import command_lines, namespace
from .specs import GuestSpec

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTORY = REPOSITORY / ".lab"
CACHE = DIRECTORY / "cache"  # survives `down`
TEST_DIRECTORY = DIRECTORY / "test"
_NAMESPACE = Path(__file__).with_name("namespace")
_DAEMON_SECONDS = 30.0
_END_SECONDS = 30.0
_BATCH = 20  # commands of one virsh
_BATCH_SECONDS = 300.0  # a new guest takes a quarter of a second, on an idle machine
_AT_ONCE = 3  # more do not make it faster on two CPUs


class Lab:
    """The lab whose files are under `directory`; `make lab` and the tests each have their own.

    What runs is found in /proc by its command line, never through a PID file, so a lab whose maker was
    killed can always be found and removed.
    """

    def __init__(self, directory: Path = DIRECTORY, say: Callable[[str], None] = print) -> None:
        self.directory = directory
        identity = hashlib.sha256(str(directory).encode()).hexdigest()[:8]
        # What the lab sees as /run. Not in the clone, whose path may be too long for that of a socket.
        self.run = Path(f"/run/kvmtune-lab-{identity}")
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None  # holds the pipe that a tied lab lives by

    @property
    def readonly_uri(self) -> str:
        """For every user of this machine, and to look only."""
        return f"qemu+unix:///system?socket={self.socket}-ro"

    @property
    def socket(self) -> Path:
        return self.run / "libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def reservation(self) -> Path:
        """Note of the hugepage pool's size before the lab made the host small."""
        return self.run.with_suffix(".hugepages")

    def start(self, *, tied: bool = False) -> None:
        """Start the daemon, removing first what is left of an earlier lab in this directory.

        tied: the kernel ends the lab when this process ends, however it ends.
        """
        with self._lock():
            self._remove()
            self._make_directories()
            image.build(self.directory / "guest", CACHE, self._say)
            self._say("starting a private libvirtd")
            self._spawn(tied=tied)
            self.wait_for_daemon()
            (self.directory / "uri").write_text(self.uri + "\n")

    def boot(self, *specs: GuestSpec) -> list[Guest]:
        """Define and start the guests, and wait until they answer."""
        for spec in specs:
            self.virsh("define", str(self._definition(spec)))
            self.virsh("start", spec.name)
        guests = self._guests(specs)
        for guest in guests:
            self._say(f"{guest.name}: up {guest.wait_ready():.0f} s after its kernel started")
        return guests

    @contextmanager
    def crowd(self, specs: Sequence[GuestSpec], *, paused: bool = True) -> Iterator[list[Guest]]:
        """Within the block, these guests are there, none of which `boots`. 300 take a bit more than a minute."""
        create = "create --paused" if paused else "create"
        try:
            self._virsh_each([f"{create} {self._definition(spec)}" for spec in specs])
            missing = {spec.name for spec in specs} - set(self.guest_names())
            if missing:
                raise LabError(f"{len(missing)} of {len(specs)} guests were not created; is there enough memory?")
            yield self._guests(specs)
        finally:
            running = set(self.guest_names())
            self._virsh_each([f"destroy {spec.name}" for spec in specs if spec.name in running])

    def migrate(self, guest: Guest, other: Lab) -> Guest:
        """Move a running guest to another lab, live; gives it as it is reached there."""
        # Between network namespaces there are only files, and of those /run is not common to the two.
        with tempfile.TemporaryDirectory(dir="/tmp") as common:
            self.virsh(*self.migration(guest, other, Path(common), "--undefinesource"))
        return replace(guest, path=other.console(guest.name).path)

    def migration(self, guest: Guest, other: Lab, common: Path, *flags: str) -> tuple[str, ...]:
        """The virsh command of a live migration by way of a directory that both labs see."""
        return ("migrate", "--live", *flags, guest.name, other.uri, "--migrateuri", f"unix://{common}/migration")

    def destroy(self, name: str) -> None:
        """Switch a guest off and forget it."""
        self.virsh("destroy", name)
        self.virsh("undefine", name)

    def console(self, name: str) -> Console:
        return Console(name=name, path=self.run / "console" / name)

    def qemu_pid(self, guest: Guest) -> int:
        """PID of the guest's QEMU process, as this machine numbers it."""
        return self._only(lambda arguments: guest.uuid in arguments, f"QEMU process of {guest.name}")

    def daemon_pid(self) -> int:
        """PID of libvirtd."""
        return self._only(lambda arguments: arguments[0] == "libvirtd", "libvirtd")

    def wait_for_daemon(self) -> None:
        """Wait until libvirtd answers."""
        deadline = time.monotonic() + _DAEMON_SECONDS
        while True:
            try:
                self.virsh("uri")
            except LabError as error:
                if time.monotonic() > deadline or not self.processes():
                    log = (self.directory / "log/libvirtd.log").read_text()[-2000:]
                    raise LabError(f"the private libvirtd did not come up: {error}\n{log}") from error
                time.sleep(0.1)
            else:
                return

    @property
    def root(self) -> Path:
        """The lab's own root directory: its /proc shows the processes of the lab, and no others."""
        return Path(f"/proc/{self.init_pid()}/root")

    def guest_names(self) -> list[str]:
        return self.virsh("list", "--name").split()

    def virsh(self, *arguments: str, timeout_seconds: float = 60.0) -> str:
        """Output of a virsh command: a witness that shares no code with kvmtune."""
        command = ("virsh", "--quiet", "--connect", self.uri, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_seconds)
        if done.returncode != 0:
            raise LabError(f"virsh {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def down(self) -> None:
        """Remove every process, mount and file of the lab but the cache. Harmless when there is none."""
        with self._lock():
            self._remove()

    def processes(self) -> dict[int, str]:
        """PID -> program of the lab's first process and of the `unshare` that waits for it."""
        return {pid: arguments[0] for pid, arguments in command_lines() if str(self.run) in arguments}

    def init_pid(self) -> int:
        """PID of the lab's first process, as this machine numbers it."""
        for pid, program in self.processes().items():
            if program != "unshare":
                return pid
        raise LabError("the lab does not run")

    def _only(self, matches: Callable[[list[str]], bool], what: str) -> int:
        """The oldest process of the lab with such a command line: a daemon's children begin with the same one."""
        inside = namespace(self.init_pid())
        found = [pid for pid, arguments in command_lines() if matches(arguments) and namespace(pid) == inside]
        if not found:
            raise LabError(f"there is no {what} in the lab")
        return min(found)

    def _guests(self, specs: Iterable[GuestSpec]) -> list[Guest]:
        return [Guest(name=spec.name, path=self.console(spec.name).path, spec=spec) for spec in specs]

    def _definition(self, spec: GuestSpec) -> Path:
        file = self.directory / f"{spec.name}.xml"
        file.write_text(spec.xml(Path("/run/lab")))
        return file

    def _virsh_each(self, commands: Sequence[str]) -> None:
        batches = (commands[start : start + _BATCH] for start in range(0, len(commands), _BATCH))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda batch: self.virsh("; ".join(batch), timeout_seconds=_BATCH_SECONDS), batches))

    def _make_directories(self) -> None:
        for name in ("guest", "log"):
            (self.directory / name).mkdir(parents=True)
        for name in ("lab", "host-etc", "hugepages", "console"):
            (self.run / name).mkdir(parents=True)
        (self.directory / "run").symlink_to(self.run)

    def _spawn(self, *, tied: bool) -> None:
        unshare = ("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--net", "--ipc", "--uts")
        script = (str(_NAMESPACE), str(self.run), str(self.directory), *(("tied",) if tied else ()))
        with (self.directory / "log/libvirtd.log").open("w") as log:
            self._process = subprocess.Popen(
                (*unshare, *script),
                stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C at a terminal is ours to handle
                env={"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C"},
            )

    def _remove(self) -> None:
        for pid, program in self.processes().items():
            if program != "unshare":  # it ends by itself, after it has reaped the one that is killed here
                _kill(pid)
        if self._process:
            self._process.communicate()  # reaps it, and closes the pipe
            self._process = None
        deadline = time.monotonic() + _END_SECONDS
        while left := self.processes():  # the first process ends last, after all others of its PID namespace
            if time.monotonic() > deadline:
                raise LabError(f"the lab's processes do not end: {left}")
            time.sleep(0.05)
        smallhost.release(self.reservation)
        if self.run.exists():
            shutil.rmtree(self.run)
        if self.directory.exists():
            self._remove_files()

    def _remove_files(self) -> None:
        for path in self.directory.iterdir():
            if path in (CACHE, TEST_DIRECTORY):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if not any(self.directory.iterdir()):
            self.directory.rmdir()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes namespaces and runs a libvirtd in them")
        CACHE.mkdir(parents=True, exist_ok=True)
        directory = os.open(CACHE, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
