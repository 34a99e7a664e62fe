"""What the linter finds out without evaluating agrees with what evaluating gives; and it never fails."""

from __future__ import annotations

import json
import math
import random
from contextlib import suppress
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from actuator import promql
from actuator.data.store import Store
from actuator.knobs import KNOBS, Unit
from actuator.lint import Subject, lint, shape
from actuator.lint.conditions import Alternative, Interval, alternatives, exclude
from actuator.promql.labels import Labels, drop_name
from actuator.promql.nodes import Node
from actuator.promql.types import Element, EvaluationError, PromqlError
from actuator.rules import config, policy
from actuator.rules.rule import agree
from kvmhost.yamltree import InvalidConfig
from tests.promql.differential import data, expressions
from tests.promql.test_properties import EXPRESSIONS

SERIES = {"host": frozenset[str](), "guest": frozenset({"domain"}), "vcpu": frozenset({"domain", "vcpu"})}
SERIES["spare"] = SERIES["guest"]
SELECTORS = ("host", "guest", "guest", "vcpu", "vcpu", '{__name__=~"guest|spare"}', 'guest{domain="a"}')
MATCHINGS = ("", "", "on ()", "on (domain)", "on (domain, vcpu)", "ignoring (vcpu)", "on (instance)")
ROUNDS = 2500


def _condition(rng: random.Random, depth: int) -> str:
    """A condition with few metrics and few numbers, so that bounds meet."""
    if depth == 0:
        bound = [rng.choice(SELECTORS), rng.choice(["<", "<=", ">", ">=", "==", "!="]), str(rng.randint(0, 3))]
        return f"({' '.join(bound if rng.random() < 0.8 else reversed(bound))})"
    one, other = (_condition(rng, rng.randrange(depth)) for _ in range(2))
    matching = rng.choice(MATCHINGS)
    many = f"{matching} {rng.choice(['group_left', 'group_right'])} ({rng.choice(['', 'vcpu'])})" if matching else ""
    return rng.choice(
        [
            *[f"({one} and {matching} {other})"] * 4,
            f"({one} or {matching} {other})",
            f"({one} unless {matching} {other})",
            f"({one} {rng.choice(['*', '<'])} {matching} {other})",
            f"({one} {rng.choice(['*', '<'])} {many} {other})",
            f"({one} < {rng.randint(0, 3)})",
            f"{rng.choice(['sum', 'max'])} {rng.choice(['by (domain)', 'without (vcpu)', ''])} ({one})",
            f"topk by (domain) (1, {one})",
            f'label_replace({one}, "vcpu", "$1", "domain", "(.*)")',
        ]
    )


def _root(rng: random.Random) -> Node:
    while True:
        with suppress(PromqlError):
            return promql.compile(_condition(rng, rng.choice([1, 2, 2, 3]))).root


def _host(rng: random.Random, *odd: dict[str, str]) -> Store:
    """All series but few, each with a number that is also a bound; half of the `odd` ones, too."""
    store = Store(math.inf)
    guests = [{"__name__": "guest", "domain": domain} for domain in "ab"]
    vcpus = [{"__name__": "vcpu", "domain": domain, "vcpu": vcpu} for domain in "ab" for vcpu in "ab"]
    for pairs in ({"__name__": "host"}, *guests, *vcpus, {"__name__": "spare", "domain": "a"}, *odd):
        if rng.random() < (0.5 if pairs in odd else 0.9):
            store.append(tuple(sorted(pairs.items())), 0.0, float(rng.randint(0, 3)))
    return store


def _results(root: Node, store: Store) -> dict[Labels, list[float]]:
    """Values by label set; those of several metrics can be the same but for their names."""
    found: dict[Labels, list[float]] = {}
    for element in cast(list[Element], promql.instant(root, store, 0)):
        found.setdefault(drop_name(element.labels), []).append(element.value)
    return found


def _holds(alternative: Alternative, labels: Labels, store: Store) -> bool:
    """Whether each expression has a value within its bounds that agrees with the labels."""
    return all(
        any(
            agree(labels, other) and any(not (interval & Interval(value, value)).is_empty for value in values)
            for other, values in _results(expr, store).items()
        )
        for expr, interval in alternative.items()
    )


def test_of_each_result_one_alternative_is_so_and_all_labels_are_foreseen() -> None:
    held = 0
    for number in range(ROUNDS):
        rng = random.Random(number)
        root, store = _root(rng), _host(rng, {"__name__": "vcpu", "domain": "a"})
        with suppress(EvaluationError):
            for labels in _results(root, store):
                assert any(_holds(one, labels, store) for one in alternatives(root, SERIES.get)), root
                foreseen = shape.labels(root, SERIES.get)
                assert foreseen is None or {name for name, _ in labels} <= foreseen, root
                held += 1
    assert held > ROUNDS / 4


def test_conditions_that_exclude_each_other_never_hold_for_one_target_at_once() -> None:
    excluded = 0
    for number in range(ROUNDS):
        rng = random.Random(number)
        one, other, store = _root(rng), _root(rng), _host(rng)
        keys = rng.choice([frozenset[str](), frozenset({"domain"}), frozenset({"domain", "vcpu"})])
        if any(shape.labels(root, SERIES.get) is None for root in (one, other)):
            continue  # nobody knows, and the benefit of the doubt is no proof
        if exclude(alternatives(one, SERIES.get), alternatives(other, SERIES.get), keys, SERIES.get):
            excluded += 1
            with suppress(EvaluationError):
                left, right = _results(one, store), _results(other, store)
                for labels in left:
                    target = tuple(pair for pair in labels if pair[0] in keys)
                    assert not any(agree(target, others) for others in right), (one, other)
    assert excluded > ROUNDS / 50


DATA = data.generate("lint")
LABELS: dict[str, frozenset[str]] = {}
for samples in DATA:
    names = dict(samples.labels)
    LABELS[names["__name__"]] = LABELS.get(names["__name__"], frozenset()) | (names.keys() - {"__name__"})
STORE = data.store(DATA)


def test_no_result_has_a_label_that_is_not_foreseen() -> None:
    for number in range(2000):
        query = expressions.query("lint", number)
        try:
            root = promql.compile(query.text).root
            value = promql.instant(root, STORE, query.start_ms)
        except (promql.PromqlError, EvaluationError):
            continue
        foreseen = shape.labels(root, LABELS.get)
        if foreseen is not None and isinstance(value, list):
            for element in value:
                assert {name for name, _ in drop_name(element.labels)} <= foreseen, query.text


KNOB_NAMES = st.sampled_from([name for name, knob in KNOBS.items() if knob.unit not in (Unit.WORD, Unit.CPUS)])
NUMBERS = st.integers(0, 4).map(str)
CONDITIONS = st.integers(0, 10**6).map(lambda seed: _condition(random.Random(seed), 2))
DURATIONS = st.sampled_from(["1s", "5s", "1m", "1h"])
RULES = st.fixed_dictionaries(
    {"when": CONDITIONS | EXPRESSIONS, "set": st.dictionaries(KNOB_NAMES, CONDITIONS | EXPRESSIONS | NUMBERS, min_size=1, max_size=2)},
    optional={
        "until": CONDITIONS,
        "for": DURATIONS,
        "every": DURATIONS,
        "keep_firing_for": DURATIONS,
        "priority": st.integers(-1, 1),
        "mode": st.sampled_from(["off", "dry-run", "apply"]),
        "on_clear": st.sampled_from(["keep", "restore"]),
        "verify": st.fixed_dictionaries({"expr": CONDITIONS, "within": DURATIONS}),
        "limits": st.dictionaries(st.sampled_from(["min", "max", "writes_per_minute"]), st.integers(1, 3)),
    },
)  # fmt: skip


@given(st.lists(RULES, min_size=1, max_size=4), st.sampled_from([1.0, 5.0, 60.0]), st.booleans())
@settings(max_examples=200)
def test_any_rules_that_load_can_be_checked(rules: list[dict[str, object]], interval: float, for_server: bool) -> None:
    tunes = [{"tune": f"r{number}", "because": "b", **rule} for number, rule in enumerate(rules)]
    records = [{"record": name, "expr": expr} for name, expr in (("x", "y"), ("y", "x + x"), ("host", "x > 1"))]
    text = json.dumps({"groups": [{"name": "g", "rules": [*records, *tunes]}]})
    try:
        loaded = config.loads(text)
    except InvalidConfig:
        return
    for finding in lint(Subject(loaded, policy.load(), interval, for_server)):
        assert finding.position.file == "rules.yml"
        assert 1 <= finding.position.column <= len(text)
