"""`python -m tests.lab`: the lab by hand, as `make lab` and its relatives call it."""

import argparse
import signal
import sys

from . import smallhost
from .errors import LabError
from .lab import TEST_DIRECTORY, Lab
from .specs import usual


def main() -> int:
    arguments = _parser().parse_args()
    try:
        _carry_out(arguments, Lab())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def _carry_out(arguments: argparse.Namespace, lab: Lab) -> None:
    match arguments.command:
        case "up":
            lab.start()
            lab.boot(*usual(arguments.guests, memory_mib=arguments.memory))
            print(f"the lab is up: virsh -c '{lab.uri}' list")
        case "down":
            lab.down()
            tests = Lab(TEST_DIRECTORY)
            if not tests.processes():  # a test run that was killed left files; one that runs needs its lab
                tests.down()
        case "guest":
            console = lab.console(f"kvmtune-lab-{arguments.number}")
            if not console.path.exists():
                raise LabError(f"there is no guest {console.name}; `make lab` starts guests")
            print(console.command(" ".join(arguments.words)), end="")
        case "short":
            _keep_short(lab, arguments.percent / 100)


def _keep_short(lab: Lab, ratio: float) -> None:
    if not lab.processes():
        raise LabError("only a lab that is up can make the host short, so that its end undoes it: `make lab` first")
    if lab.reservation.exists():
        raise LabError("the host is kept short already; if that was killed, `make lab-down` ends it")
    room = min(smallhost.ROOM_BYTES, smallhost.available_bytes())
    try:
        smallhost.shrink_noting(room, lab.reservation)
        with smallhost.ballast(ratio):
            print(
                f"the host is short: {smallhost.available_ratio():.0%} of its memory is available; Ctrl-C ends it",
                flush=True,
            )
            signal.pause()
    except KeyboardInterrupt:
        print("the host has its memory again")
    finally:
        smallhost.release(lab.reservation)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="build the lab and start its guests")
    up.add_argument("--guests", type=int, default=2, metavar="N", help="how many (default: 2)")
    up.add_argument("--memory", type=int, default=256, metavar="MIB", help="memory of each (default: 256)")
    commands.add_parser("down", help="remove the lab: processes, mounts, hugepages and files")
    guest = commands.add_parser("guest", help="have a guest do something: fill 100, free, busy, idle, meminfo")
    guest.add_argument("number", type=int, help="1 is kvmtune-lab-1")
    guest.add_argument("words", nargs=argparse.REMAINDER, help="command for the guest, see tests/lab/guests.py")
    short = commands.add_parser("short", help="keep the host short of memory until Ctrl-C")
    short.add_argument("--percent", type=int, default=8, metavar="N", help="what shall be available (default: 8)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
