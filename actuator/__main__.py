"""The command `kvmtune-actuator`. Exit status: 0 done, 1 failed, 2 bad input."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from actuator import statefile
from actuator.commands import parser
from actuator.commands.flags import BAD_INPUT, FAILED
from actuator.data.scrape import ScrapeError
from actuator.ledger.ledger import LedgerError
from actuator.ledger.lock import LockError
from actuator.protection import ProtectionError
from kvmhost.yamltree import InvalidConfig
from kvmweb.server import WebError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    try:
        status = int(options.command(options))
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:  # who read the output has seen enough, as `head`
        _give_up_output()
        return FAILED
    except OSError as error:
        if error.filename is not None or not statefile.is_full(error):
            raise
        _give_up_output()
        print(f"cannot write the output: {error.strerror}", file=sys.stderr)
        return FAILED
    except InvalidConfig as error:
        print(error, file=sys.stderr)
        print(f"problems: {len(error.problems)}; nothing was done", file=sys.stderr)
        return BAD_INPUT
    except ScrapeError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except (LedgerError, LockError, ProtectionError, WebError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return status


def _give_up_output() -> None:
    """So that nothing is left to be told at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
