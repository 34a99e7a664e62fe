"""What each knob's write takes, by users that have just that, or less: the real kernel, libvirtd and polkitd."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actuator.knobs import KNOBS
from actuator.knobs.privilege import CONNECTION, GUEST, NEXT_BOOT, SYS_FILE, SYSCTL, TUNED
from tests.host import public_directory
from tests.programs import wait_until

from . import hoststate, packages
from .guests import Guest
from .hoststate import KSM
from .lab import CACHE, REPOSITORY, Lab
from .processes import command_lines
from .programs import Programs
from .specs import GuestSpec

_SCRIPT = Path(__file__).with_name("polkit")
RULES = REPOSITORY / "packaging/polkit"
NEXT_BOOT_RULES = "59-kvmtune-libvirt-next-boot.rules"
ACTIONS = Path("usr/share/polkit-1/actions")
KNOWS = {"libvirt-daemon-system": "org.libvirt.api.policy", "tuned": "com.redhat.tuned.policy"}
"""The package that brings a file of actions."""
KVMTUNE, NOBODY = 64055, 65534
NOWHERE = "test:///nowhere"

OF_FILES = [name for name, knob in KNOBS.items() if knob.privilege in (SYS_FILE, SYSCTL)]
OF_GUESTS = ["balloon.target", "balloon.stats_period", "vcpu.affinity", "emulator.affinity", "iothread.affinity"]
OF_NEXT_BOOT = ["domain.share_pages", "domain.hugepages"]


def user(number: int, *capabilities: str) -> tuple[str, ...]:
    """Prefix of a command that a user shall run with these capabilities and no others."""
    caps = ",".join(("-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)))
    who = (f"--reuid={number}", f"--regid={number}", "--clear-groups")
    return ("/usr/bin/setpriv", *who, f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}")


def writes(prefix: tuple[str | Path, ...], names: list[str], uri: str = NOWHERE) -> dict[str, str]:
    """What was wrong with a write to each of these knobs, by the user of `prefix`."""
    command = (*prefix, sys.executable, "-m", "tests.lab.writes", uri, *names)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}  # who enters a namespace loses the current directory
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("as_nobody")
@pytest.mark.parametrize("capabilities", [(), ("CAP_DAC_OVERRIDE",)])
def test_files_of_another_user(capabilities: tuple[str, ...]) -> None:
    """A write works with the knob's capability; without it the error says what would let it."""
    found = writes(user(KVMTUNE, *capabilities), OF_FILES)
    assert len(found) > 30
    for name, problem in found.items():
        privilege = KNOBS[name].privilege
        if privilege.capability in capabilities:
            assert problem == "", name
        else:
            assert privilege.fix in problem, name


def test_files_of_a_root_without_any_capability() -> None:
    found = writes(user(0), OF_FILES)
    assert len(found) > 30
    assert {name: problem for name, problem in found.items() if problem} == {}


@pytest.fixture
def group() -> Iterator[int]:
    """A group that may write one file of KSM."""
    file = KSM / "sleep_millisecs"
    try:
        os.chown(file, 0, KVMTUNE)
        file.chmod(0o664)
        yield KVMTUNE
    finally:
        file.chmod(0o644)
        os.chown(file, 0, 0)


@pytest.mark.usefixtures("as_nobody", "group")
def test_a_file_that_a_group_may_write_takes_no_capability() -> None:
    assert writes(user(KVMTUNE), ["ksm.sleep_millisecs"]) == {"ksm.sleep_millisecs": ""}


class Polkit:
    """A lab whose libvirtd asks polkit, with all the rules that ship."""

    def __init__(self, lab: Lab) -> None:
        self.init = lab.init_pid()
        self.root = lab.root
        self.rules = self.root / "etc/polkit-1/rules.d"

    def run_as(self, prefix: tuple[str, ...], *command: str | Path) -> tuple[str | Path, ...]:
        """A command, or the prefix of one, inside of the lab, where polkit can tell who asks."""
        return ("/usr/bin/nsenter", "--target", str(self.init), "--mount", "--pid", "--", *prefix, *command)

    @contextmanager
    def client(self, number: int) -> Iterator[str]:
        """A process of a user, by its number inside of the lab."""
        waits = self.run_as(user(number), "sh", "-c", "echo $$; exec cat")
        with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdin
            yield process.stdout.readline().strip()
            process.stdin.close()

    def allows(self, action: str, client: str, guest: str = "any") -> bool:
        """What polkitd says of an action that a process asks for."""
        question = ("--action-id", action, "--process", client, "--detail", "domain_name", guest)
        command = self.run_as((), "pkcheck", *question)
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.fixture(scope="module")
def polkit(lab: Lab, booted: list[Guest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polkit]:
    """The lab's guests, and one with an I/O thread. While this lasts, libvirtd knows nobody who is outside of the lab."""
    cache = CACHE / "packages"
    names = [
        *packages.missing("polkitd", "dbus-daemon"),
        *(name for name, file in KNOWS.items() if not (Path("/") / ACTIONS / file).exists()),
    ]
    log = tmp_path_factory.mktemp("polkit") / "log"
    with lab.crowd([GuestSpec(name="threads", memory_mib=16, boots=False, iothreads=1)], paused=False):
        polkit = Polkit(lab)
        script = (_SCRIPT, str(KVMTUNE), RULES, *(packages.unpacked(name, cache) for name in names))
        with log.open("w") as out:
            process = subprocess.Popen(polkit.run_as((), *script), stdin=subprocess.PIPE, stdout=out, stderr=out)
        try:
            wait_until(lambda: "ready" in log.read_text() or process.poll() is not None, "libvirtd asks polkit")
            assert process.poll() is None, log.read_text()
            yield polkit
        finally:
            process.communicate(timeout=30)
            lab.wait_for_daemon()


@pytest.fixture
def no_next_boot(polkit: Polkit) -> Iterator[None]:
    """The rules for the knobs of the next boot are not installed."""
    with polkit.client(KVMTUNE) as client:
        (polkit.rules / NEXT_BOOT_RULES).unlink()
        wait_until(lambda: not polkit.allows("org.libvirt.api.domain.save", client), "polkit has seen it")
        yield
        (polkit.rules / NEXT_BOOT_RULES).write_text((RULES / NEXT_BOOT_RULES).read_text())
        wait_until(lambda: polkit.allows("org.libvirt.api.domain.save", client), "polkit has seen it")


@pytest.mark.usefixtures("as_nobody")
def test_guests(polkit: Polkit) -> None:
    names = [*OF_GUESTS, *OF_NEXT_BOOT]
    assert writes(polkit.run_as(user(KVMTUNE)), names, "qemu:///system") == dict.fromkeys(names, "")


@pytest.mark.usefixtures("as_nobody", "no_next_boot")
def test_guests_without_the_rules_for_the_next_boot(polkit: Polkit) -> None:
    found = writes(polkit.run_as(user(KVMTUNE)), [*OF_GUESTS, *OF_NEXT_BOOT], "qemu:///system")
    assert [name for name, problem in found.items() if problem] == OF_NEXT_BOOT
    for name in OF_NEXT_BOOT:
        assert "polkit asks for org.libvirt.api.domain.write, org.libvirt.api.domain.save" in found[name]
        assert f"and {NEXT_BOOT_RULES}" in found[name]


@pytest.fixture
def spared(polkit: Polkit) -> Iterator[None]:
    """The guest `threads` is kept out of its hands, as docs/privileges.md shows."""
    page = (REPOSITORY / "docs/privileges.md").read_text()
    (example,) = (rule for rule in re.findall(r"```js\n(.*?)```", page, re.S) if "db-" in rule)
    file = polkit.rules / "58-kvmtune-spared.rules"
    file.write_text(example.replace("db-", "threads"))
    with polkit.client(KVMTUNE) as client:
        wait_until(lambda: not polkit.allows(GUEST.actions[0], client, "threads"), "polkit has seen it")
        yield
        file.unlink()
        wait_until(lambda: polkit.allows(GUEST.actions[0], client, "threads"), "polkit has seen it")


@pytest.mark.usefixtures("as_nobody", "spared")
def test_a_guest_that_is_spared(polkit: Polkit) -> None:
    """It is the only one with an I/O thread."""
    found = writes(polkit.run_as(user(KVMTUNE)), ["domain.share_pages", "iothread.affinity"], "qemu:///system")
    assert found["domain.share_pages"] == ""  # of a persistent guest, which that one is not
    assert GUEST.actions[0] in found["iothread.affinity"]


@pytest.mark.parametrize(
    "command",
    [
        "destroy threads",
        "suspend threads",
        "reset threads",
        "undefine kvmtune-lab-1",
        "save threads /run/saved",
        "dump threads /run/dumped",
        "migrate --live --p2p threads qemu+ssh://elsewhere/system",
        "net-list",
        "net-define /run/network.xml",
        "secret-list",
        "secret-define /run/secret.xml",
        "pool-list",
        "pool-define-as any dir --target /run",
        "nodedev-list",
    ],
)
def test_everything_else_is_refused(polkit: Polkit, command: str) -> None:
    run = polkit.root / "run"
    (run / "network.xml").write_text("<network><name>any</name></network>")
    (run / "secret.xml").write_text("<secret><usage type='volume'><volume>/any</volume></usage></secret>")
    virsh = ("virsh", "--connect", "qemu:///system", *command.split())
    done = subprocess.run(polkit.run_as(user(KVMTUNE), *virsh), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "access denied" in done.stderr) == (1, True), done


def test_what_polkit_says_of_every_action(polkit: Polkit) -> None:
    """Also of tuned's. Another user than kvmtune gets nothing by our rules."""
    granted = {action for knob in KNOBS.values() for action in knob.privilege.actions} | set(CONNECTION)
    files = ((polkit.root / ACTIONS / name).read_text() for name in (*KNOWS.values(), "org.libvirt.unix.policy"))
    known = {action for text in files for action in re.findall(r'<action id="([^"]+)"', text)}
    assert granted <= known
    allowed = {}
    for number in (KVMTUNE, NOBODY):
        with polkit.client(number) as client:
            allowed[number] = {action for action in known if polkit.allows(action, client)}
    tuned_reads = {action for action in allowed[NOBODY] if action.startswith("com.redhat.tuned.")}
    assert allowed[KVMTUNE] == granted | {"org.libvirt.unix.monitor"} | tuned_reads
    assert not allowed[NOBODY] & {"org.libvirt.unix.manage", *GUEST.actions, *NEXT_BOOT.actions, *TUNED.actions}


ACTUATOR_RULES = """
groups:
  - name: privileges
    rules:
      - {tune: sysctl, because: test, when: vector(1), set: {sysctl.vm.stat_interval: 3}}
      - {tune: next_boot, because: test, when: kvm_domain_balloon_actual_bytes > 0, set: {domain.share_pages: 0}}
      - {tune: ksm, because: test, when: vector(1), set: {ksm.pages_to_scan: 150}}
      - {tune: balloons, because: test, when: kvm_domain_balloon_actual_bytes > 0, set: {balloon.stats_period: 7s}}
"""


@pytest.mark.usefixtures("as_nobody", "no_next_boot")
def test_the_actuator_with_less_than_its_rules_take(polkit: Polkit, kvmtune: Programs) -> None:
    """What it may not is refused with the fix, what it may is done, ticks go on, and the end puts all back."""
    before = hoststate.read()
    inside = ("--libvirt.uri", "qemu:///system")
    exporter = kvmtune.exporter(*inside, prefix=polkit.run_as(user(KVMTUNE)))
    with public_directory() as directory:
        os.chown(directory, KVMTUNE, KVMTUNE)
        rules = directory / "rules.yml"
        rules.write_text(ACTUATOR_RULES)
        may = polkit.run_as(user(KVMTUNE, "CAP_DAC_OVERRIDE"))
        actuator = kvmtune.actuator(exporter, rules, "--apply", "--state-dir", directory, *inside, prefix=may)
        actuator.wait_for(rf"failed +sysctl: host sysctl.vm.stat_interval .*{re.escape(SYSCTL.fix)}")
        actuator.wait_for(rf"failed +next_boot: kvmtune-lab-1 domain.share_pages .*{re.escape(NEXT_BOOT.fix)}")
        actuator.wait_for(r"written +ksm: host ksm.pages_to_scan .* -> 150")
        actuator.wait_for(r"written +balloons: kvmtune-lab-1 balloon.stats_period 1s -> 7s")
        ticks = actuator.scrape()["kvmtune_actuator_ticks_total"]
        wait_until(lambda: actuator.scrape()["kvmtune_actuator_ticks_total"] > ticks, "ticks go on")
        assert hoststate.ksm("pages_to_scan") == 150
        (pid,) = (pid for pid, line in command_lines() if str(directory) in line and "python" in line[0])
        os.kill(pid, signal.SIGTERM)  # nsenter does not pass it on
        assert actuator.process.wait(30) == 0
    assert "restore: host ksm.pages_to_scan" in actuator.output
    assert "restore: kvmtune-lab-1 balloon.stats_period 1s: restored" in actuator.output
    assert hoststate.read() == before
