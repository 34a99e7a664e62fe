"""`python -m tests.lab`: the lab by hand, as `make lab` and its relatives call it."""

import argparse
import sys

from . import smallhost
from .errors import LabError
from .lab import TEST_DIRECTORY, Lab, specs


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
            lab.boot(*specs(arguments.guests, memory_mib=arguments.memory))
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
        case "host":
            _resize_host(lab, arguments.available)


def _resize_host(lab: Lab, available: str) -> None:
    if available == "all":
        smallhost.release(lab.reservation)
    elif lab.processes():
        smallhost.shrink_noting(int(available) * 2**20, lab.reservation)
    else:
        raise LabError("only a lab that is up can make the host small, so that its end undoes it: `make lab` first")
    print(f"MemAvailable is {smallhost.available_bytes() >> 20} MiB")


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
    host = commands.add_parser("host", help="make the host small, by reserving hugepages, or big again")
    host.add_argument("available", type=_mib_or_all, metavar="MIB|all", help="the MemAvailable it shall have")
    return parser


def _mib_or_all(text: str) -> str:
    if text == "all" or text.isdecimal():
        return text
    raise argparse.ArgumentTypeError(f"'{text}' is neither a number of MiB nor 'all'")


if __name__ == "__main__":
    sys.exit(main())
