"""Random queries from a typed grammar: nearly all are valid, and all that the language has occurs in them."""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.promql.differential.data import END_MS, INTERVAL_MS, START_MS
from tests.promql.differential.queries import Query
from tests.promql.differential.vocabulary import (
    AGGREGATIONS,
    ARITHMETIC,
    COMPARISONS,
    DATES,
    DURATIONS,
    ELEMENTWISE,
    LABELS,
    METRICS,
    NUMBERS,
    OVER_TIME,
    PATTERNS,
    RANGES,
    RATIOS,
    SETS,
    STEPS,
    VALUES,
    WRONG,
)

T = TypeVar("T")


def query(seed: str, number: int) -> Query:
    """The query of this number in the run of this seed."""
    rng = random.Random(f"{seed}/{number}")
    instant = rng.random() < 0.6
    text = _Grammar(rng).expression(instant=instant)
    on_time = INTERVAL_MS if rng.random() < 0.6 else 1
    start = rng.randrange(START_MS, END_MS) + (rng.choice([0, 0, 0, 0, 0, 5 * 60_000]))
    start -= start % on_time
    if instant:
        return Query(text, start, start)
    step = rng.choice([1000, 15_000, 30_000, 60_000, 77_777, 300_000])
    end = start + step * rng.randint(0, 20) + rng.choice([0, 0, step // 2])
    return Query(text, start, end, step)


class _Grammar:
    """Makes texts; ``depth`` is how many levels of operators and functions may still come."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def expression(self, *, instant: bool) -> str:
        depth = self._rng.choice([1, 2, 2, 3, 3, 4])
        kinds: dict[Callable[[int], str], float] = {self.vector: 40, self.scalar: 2, self.wrong: 1}
        if instant:
            kinds |= {self.matrix: 0.5, self._text: 0.1}
        return self._weighted(kinds)(depth)

    def scalar(self, depth: int) -> str:
        if depth <= 0:
            return self._weighted({self._one(NUMBERS): 6, "time()": 1, "pi()": 0.5})
        return self._weighted({self._number: 8, self._scalar_of_vector: 3, self._scalar_operation: 2})(depth - 1)

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.selector()
        kinds = {
            self._over_time: 11,
            self._binary: 6,
            self._aggregation: 5,
            self._elementwise: 3,
            self._with_parameters: 2,
            self._date: 0.7,
            self._relabelled: 1.2,
            self._histogram_quantile: 1,
            self._absent: 0.5,
            self._negated: 0.7,
            self._in_parentheses: 0.7,
            self._vector_of_scalar: 0.5,
            self._selector: 1,
        }
        return self._weighted(kinds)(depth - 1)

    def matrix(self, depth: int) -> str:
        if depth <= 1 or self._chance(0.65):
            return f"{self._series()}[{self._one(RANGES)}]{self._moved()}"
        operand = self.vector(min(depth - 1, 2))
        step = self._one(STEPS) if self._chance(0.8) else ""
        span = self._one(RANGES[2:8])
        return f"({operand})[{span}:{step}]{self._moved()}"

    def selector(self) -> str:
        return self._series() + self._moved()

    def wrong(self, depth: int) -> str:
        template = self._one(WRONG)
        return template.format(vector=self.vector(depth - 1), matrix=self.matrix(1), number=self._one(NUMBERS))

    def _text(self, depth: int) -> str:
        return self._quoted("text")

    def _series(self) -> str:
        matchers = [self._matcher() for _ in range(self._weighted({0: 6, 1: 4, 2: 1}))]
        if self._chance(0.04):
            pattern = self._one(["gauge|level", "g.*", ".*_total", "latency.*|info", "e.+"])
            matchers.append(f"__name__=~{self._quoted(pattern)}")
            return f"{{{','.join(matchers)}}}"
        if self._chance(0.01):
            matchers += [f"__name__!={self._quoted(self._one(METRICS))}", 'job="db"']
            return f"{{{','.join(matchers)}}}"
        name = self._weighted(dict(zip(METRICS, (6, 5, 3, 4, 1.5, 1.5, 1, 1, 1.5, 0.3), strict=True)))
        return name + (f"{{{', '.join(matchers)}}}" if matchers or self._chance(0.1) else "")

    def _matcher(self) -> str:
        label = self._one(LABELS[:2]) if self._chance(0.7) else self._one(LABELS)
        if self._chance(0.5):
            value = "" if self._chance(0.15) else self._one(VALUES[label])
            return f"{label}{self._one(['=', '=', '=', '!='])}{self._quoted(value)}"
        return f"{label}{self._one(['=~', '!~'])}{self._quoted(self._one(PATTERNS))}"

    def _moved(self) -> str:
        """Offset and @, mostly neither."""
        parts = []
        if self._chance(0.12):
            parts.append(f" offset {self._one(['', '', '-'])}{self._one(DURATIONS)}")
        if self._chance(0.08):
            seconds = self._rng.randrange(START_MS, END_MS, 500) / 1000
            parts.append(f" @ {self._one([str(seconds), 'start()', 'end()'])}")
        self._rng.shuffle(parts)
        return "".join(parts)

    def _over_time(self, depth: int) -> str:
        matrix = self.matrix(depth)
        match self._rng.randrange(12):
            case 0:
                return f"quantile_over_time({self._ratio()}, {matrix})"
            case 1:
                return f"predict_linear({matrix}, {self.scalar(0)})"
            case 2 if self._chance(0.5):
                factors = self._one(["0.3, 0.1", "0.9, 0.9", "0.5, 0.01", "0.1, 0.1"])
                return f"holt_winters({matrix}, {factors})"
            case _:
                return f"{self._one(OVER_TIME)}({matrix})"

    def _binary(self, depth: int) -> str:
        if self._chance(0.3):
            operands = [self.vector(depth), self.scalar(min(depth, 1))]
            self._rng.shuffle(operands)
            operator = self._one(ARITHMETIC + COMPARISONS)
            return self._joined(operands, operator + (self._bool() if operator in COMPARISONS else ""))
        left = self.vector(depth)
        right = self.vector(depth) if self._chance(0.5) else left  # so that many elements match
        operator = self._one(ARITHMETIC * 2 + COMPARISONS + SETS * 2)
        if operator in SETS:
            return self._joined([left, right], f"{operator}{self._on() if self._chance(0.6) else ''}")
        if self._chance(0.35):
            return self._many_to_one(depth, operator)
        matching = self._on() if self._chance(0.15) else ""
        return self._joined([left, right], f"{operator}{self._bool() if operator in COMPARISONS else ''}{matching}")

    def _many_to_one(self, depth: int, operator: str) -> str:
        """The one side is aggregated, so that mostly one element is left for each match."""
        many = self.vector(depth)
        names = self._some(LABELS[:3])
        operand = many if self._chance(0.6) else self.vector(depth - 1)
        one = self._one([f"{self._one(AGGREGATIONS)} by ({names}) ({operand})"] * 3 + ["info", "gauge"])
        names = "job" if one == "info" else names
        included = self._one(["", "", "()", "(version)", "(mode)", "(instance)"])
        boolean = self._bool() if operator in COMPARISONS else ""
        ways = [f"on({names})"] * 4 + [f"ignoring({self._some(LABELS[1:3])})"]
        if self._chance(0.5):
            return self._joined([many, one], f"{operator}{boolean} {self._one(ways)} group_left{included}")
        return self._joined([one, many], f"{operator}{boolean} {self._one(ways)} group_right{included}")

    def _joined(self, operands: Sequence[str], operator: str) -> str:
        """Mostly without parentheses, so that precedence decides."""
        left, right = (f"({operand})" if self._chance(0.3) else operand for operand in operands)
        return f"{left} {operator} {right}"

    def _aggregation(self, depth: int) -> str:
        operand = self.vector(depth)
        kinds = [
            self._one(AGGREGATIONS),
            self._one(AGGREGATIONS),
            self._one(AGGREGATIONS),
            f"quantile:{self._ratio()}",
            f"{self._one(['topk', 'bottomk'])}:{self._one(['0', '1', '1', '2', '3', '5', '2.7', '-1', 'Inf', 'scalar(level)'])}",
            f"count_values:{self._quoted(self._one(['v', 'job', 'mode']))}",
        ]
        operator, _, parameter = self._one(kinds).partition(":")
        grouping = self._grouping()
        inner = f"({parameter}, {operand})" if parameter else f"({operand})"
        if self._chance(0.5):
            return f"{operator}{grouping and f' {grouping} '}{inner}"
        return f"{operator}{inner}{grouping and f' {grouping}'}"

    def _grouping(self) -> str:
        if self._chance(0.35):
            return ""
        return f"{self._one(['by', 'by', 'without'])} ({self._some(LABELS)})"

    def _elementwise(self, depth: int) -> str:
        return f"{self._one(ELEMENTWISE)}({self.vector(depth)})"

    def _with_parameters(self, depth: int) -> str:
        operand, number = self.vector(depth), self.scalar(min(depth, 1))
        return self._one(
            [
                f"round({operand}, {number})",
                f"clamp({operand}, {self.scalar(0)}, {number})",
                f"clamp_min({operand}, {number})",
                f"clamp_max({operand}, {number})",
            ]
        )

    def _date(self, depth: int) -> str:
        if self._chance(0.2):
            return f"{self._one(DATES)}()"
        operand = self._one(["epoch", "epoch", f"timestamp({self.vector(depth - 1)})", self.vector(depth)])
        return f"{self._one(DATES)}({operand})"

    def _relabelled(self, depth: int) -> str:
        operand = self.vector(depth)
        target = self._one(["new", "job", "mode", "le", "__name__"])
        source = self._one([*LABELS, "__name__"])
        if self._chance(0.3):
            separator = self._quoted(self._one(["-", "", ","]))
            return f'label_join({operand}, "{target}", {separator}, "{source}", "{self._one(LABELS)}")'
        pattern = self._one(["(.*)", "(a)(.*)", "(?P<x>.).*", "", "a.*", "([a-z]+)_.*", "(api|db)"])
        template = self._one(["$1", "x-$1", "${1}y", "$2", "$x", "", "constant", "$$1", "$1y"])
        return f'label_replace({operand}, "{target}", {self._quoted(template)}, "{source}", {self._quoted(pattern)})'

    def _histogram_quantile(self, depth: int) -> str:
        buckets = self._one(
            [
                "latency_bucket",
                f"rate(latency_bucket[{self._one(RANGES)}])",
                f"sum by (le) (rate(latency_bucket[{self._one(RANGES)}]))",
                f"sum by (job, le) (latency_bucket{self._moved()})",
                "latency_bucket / 3",
                self.vector(depth),
            ]
        )
        return f"histogram_quantile({self._ratio()}, {buckets})"

    def _absent(self, depth: int) -> str:
        return f"absent({self.vector(depth)})" if self._chance(0.5) else f"absent({self.selector()})"

    def _negated(self, depth: int) -> str:
        return f"{self._one(['-', '-', '+'])}{self.vector(depth)}"

    def _in_parentheses(self, depth: int) -> str:
        return f"({self.vector(depth)})"

    def _vector_of_scalar(self, depth: int) -> str:
        return f"vector({self.scalar(depth)})"

    def _selector(self, depth: int) -> str:
        return self.selector()

    def _number(self, depth: int) -> str:
        return self.scalar(0)

    def _scalar_of_vector(self, depth: int) -> str:
        return f"scalar({self.vector(min(depth, 2))})"

    def _scalar_operation(self, depth: int) -> str:
        operator = self._one(ARITHMETIC + COMPARISONS)
        operands = [self.scalar(depth), self.scalar(depth)]
        return self._joined(operands, f"{operator} bool" if operator in COMPARISONS else operator)

    def _ratio(self) -> str:
        return self._one(RATIOS) if self._chance(0.9) else self.scalar(1)

    def _bool(self) -> str:
        return " bool" if self._chance(0.3) else ""

    def _on(self) -> str:
        return f" {self._one(['on', 'ignoring'])}({self._some(LABELS)})"

    def _some(self, names: Sequence[str]) -> str:
        return ", ".join(self._rng.sample(names, self._weighted({0: 1, 1: 5, 2: 3})))

    def _quoted(self, text: str) -> str:
        quote = self._one(['"', "'", "`"])
        return f"{quote}{text}{quote}"

    def _one(self, choices: Sequence[T]) -> T:
        return self._rng.choice(choices)

    def _weighted(self, choices: dict[T, float]) -> T:
        return self._rng.choices(list(choices), list(choices.values()))[0]

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability
