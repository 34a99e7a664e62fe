"""`python -m benchmarks.policies.plots`: draws the pictures of the autopilot's control laws, from closed-loop runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from actuator.decision import Decision
from actuator.simulated.simulatedhost import Fixture
from tests.lab.lab import REPOSITORY
from tests.scenarios.closedloop import CpuHost, Loop, MemoryHost, Model, PagesHost, Pool, Vcpu, one_node

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = REPOSITORY / "docs/pictures"
_MINUTE = 60.0
_MARKERS = "ov^s"
Reading = dict[str, float]
M = TypeVar("M", bound=Model)


def main() -> int:
    """Draw all of them; 1 without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        print("plots: matplotlib is not here: pip install matplotlib", file=sys.stderr)
        return 1
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its fonts
    matplotlib.rcParams["svg.hashsalt"] = "kvmtune"  # the same run makes the same file
    for draw in (hugepages, cpu, host):
        print(draw().relative_to(REPOSITORY))
    return 0


def followed(
    loop: Loop, model: M, minutes: int, events: dict[int, Callable[[M], object]], read: Callable[[M], Reading]
) -> list[tuple[float, Reading]]:
    """What the model reads over time, in minutes, while things happen to it at some."""
    found = []
    for tick in range(int(minutes * _MINUTE / loop.tick_seconds)):
        minute = tick * loop.tick_seconds / _MINUTE
        if minute in events:
            events[int(minute)](model)
        loop.run(loop.tick_seconds)
        found.append((loop.now / _MINUTE, read(model)))
    return found


@contextmanager
def picture(name: str, titles: list[str]) -> Iterator[list[Axes]]:
    """Panels one above the other over minutes, written at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6 * len(titles)), layout="constrained")
    panels: list[Axes] = list(figure.subplots(len(titles), 1, sharex=True, squeeze=False)[:, 0])
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left", fontsize="medium")
        panel.grid(alpha=0.3)
    yield panels
    for panel in panels:
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[-1].set_xlabel("minutes")
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})


def lines(panel: Axes, read: list[tuple[float, Reading]], styles: dict[str, str]) -> None:
    """One line for each of these readings."""
    for name, style in styles.items():
        panel.plot([minute for minute, _ in read], [values[name] for _, values in read], style, label=name)


def marks(panel: Axes, moves: list[Decision], height: Callable[[Decision], float]) -> None:
    """Where rules acted."""
    for number, rule in enumerate(dict.fromkeys(move.rule for move in moves)):
        of = [move for move in moves if move.rule == rule]
        panel.plot(
            [move.time / _MINUTE for move in of],
            [height(move) for move in of],
            _MARKERS[number % len(_MARKERS)],
            color=f"C{number + 3}",
            markersize=5,
            label=rule,
        )


def hugepages() -> Path:
    """Guests start, two leave, memory is wanted, then short, then there again."""
    model = PagesHost(pools={0: Pool(2048)})
    model.start("first", 4096)

    def others(mib: int) -> Callable[[PagesHost], object]:
        return lambda host: setattr(host, "others_mib", mib)

    def leave(host: PagesHost) -> None:
        host.stop("first")
        host.stop("second")

    events: dict[int, Callable[[PagesHost], object]] = {
        5: lambda host: host.start("second", 4096),
        12: lambda host: host.start("third", 4096),
        20: leave,
        25: others(39000),
        65: others(50000),
        80: others(20000),
    }

    def read(host: PagesHost) -> Reading:
        pool = host.pools[0]
        return {"pool": pool.nr / 512, "in use": pool.used / 512, "available": host.available_ratio}

    with Loop(model, ["hugepages"], tick_seconds=15.0) as loop:
        found = followed(loop, model, 95, events, read)
    with picture("autopilot-hugepages", ["the pool, GiB", "available of what is not in the pool"]) as (upper, lower):
        lines(upper, found, {"pool": "C0", "in use": "C1"})
        marks(upper, loop.moves, lambda move: int(move.after or 0) / 512)
        lines(lower, found, {"available": "C2"})
        for bound, what in ((0.30, "grows above"), (0.25, "unused goes back below"), (0.15, "free goes back below")):
            lower.axhline(bound, color="0.5", linewidth=0.8, linestyle=":")
            lower.annotate(what, (0, bound), fontsize="x-small", va="bottom")
    return PICTURES / "autopilot-hugepages.svg"


def cpu() -> Path:
    """Three busy vCPUs on one CPU of four, with the rules and without."""

    def made() -> CpuHost:
        return CpuHost(one_node(4), {name: Vcpu(1.0, "0") for name in "abc"})

    def waiting(host: CpuHost) -> float:
        return sum(vcpu.waited_seconds for vcpu in host.vcpus.values())

    rows: dict[bool, list[tuple[float, Reading]]] = {}
    moves: list[Decision] = []
    for with_rules in (True, False):
        model, before = made(), [0.0]
        with Loop(model, ["cpu"] if with_rules else [], Fixture(cpus=model.cpus)) as loop:

            def read(host: CpuHost, before: list[float] = before, seconds: float = loop.tick_seconds) -> Reading:
                waited = waiting(host) - before[-1]
                before.append(waiting(host))
                return {"waiting": waited / seconds, "work": 3.0 - waited / seconds}

            rows[with_rules] = followed(loop, model, 7, {}, read)
            moves = moves or loop.moves
    titles = ["CPUs waited for, all three vCPUs together", "where they may run: CPUs of four"]
    with picture("autopilot-cpu", titles) as (upper, lower):
        for with_rules, found in rows.items():
            label = "with the rules" if with_rules else "without"
            upper.plot(
                [minute for minute, _ in found],
                [row["waiting"] for _, row in found],
                "C0" if with_rules else "0.6",
                label=label,
            )
        marks(upper, moves, lambda _: 0.0)
        for height, name in enumerate("abc"):
            own = [(0.0, "0"), *((m.time / _MINUTE, str(m.after)) for m in moves if dict(m.target)["domain"] == name)]
            ends = [*(minute for minute, _ in own[1:]), 7.0]
            for (begin, cpus), end in zip(own, ends, strict=True):
                lower.plot([begin, end], [height, height], f"C{height}", linewidth=3)
                lower.annotate(cpus, (begin, height), xytext=(2, 4), textcoords="offset points", fontsize="x-small")
        lower.set_yticks([0, 1, 2], ["a", "b", "c"])
        lower.set_ylim(-0.5, 2.8)
    return PICTURES / "autopilot-cpu.svg"


def host() -> Path:
    """Memory falls below 15 %, sways, and comes back."""
    model = MemoryHost()

    def available(ratio: float) -> Callable[[MemoryHost], object]:
        return lambda host: setattr(host, "available_ratio", ratio)

    ratios = {0: 0.3, 3: 0.13, 5: 0.07, 8: 0.12, 10: 0.09, 12: 0.13, 15: 0.2}
    events = {minute: available(ratio) for minute, ratio in ratios.items()}

    def read(host: MemoryHost) -> Reading:
        return {"available": host.available_ratio, **{f"vm.{name}": value for name, value in host.sysctls.items()}}

    with Loop(model, ["host"]) as loop:
        found = followed(loop, model, 18, events, read)
    with picture("autopilot-host", ["available of what is not in pools", "kernel parameters"]) as (upper, lower):
        lines(upper, found, {"available": "C2"})
        for bound, what in ((0.10, "begins below, for 30 s"), (0.14, "ends above")):
            upper.axhline(bound, color="0.5", linewidth=0.8, linestyle=":")
            upper.annotate(what, (0, bound), fontsize="x-small", va="bottom")
        lines(lower, found, {"vm.swappiness": "C0", "vm.dirty_ratio": "C1", "vm.dirty_background_ratio": "C3"})
    return PICTURES / "autopilot-host.svg"


if __name__ == "__main__":
    sys.exit(main())
