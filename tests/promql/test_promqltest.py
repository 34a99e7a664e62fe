"""The runner of scripts: what it must not let pass."""

import pytest

from actuator.promql import evaluate
from actuator.promqltest import Verdict, run
from actuator.promqltest.script import Load, ScriptError, parse

DATA = """
load 1m
    x{i="a"} 1 2 3
    x{i="b"} 4 5 6

"""


def judge(case: str, data: str = DATA) -> Verdict:
    (verdict,) = run(data + case)
    return verdict


@pytest.mark.parametrize(
    "case",
    [
        'eval instant at 1m x{i="a"}\n x{i="a"} 2',
        'eval instant at 1m x{i="a"}\n x{i="a"} 2.0000001',
        "eval instant at 1m 1 + 1\n 2",
        'eval instant at 1m "s"\n expect string "s"',
        'eval range from 0 to 2m step 1m x{i="a"}\n x{i="a"} 1+1x2',
        'eval range from 0 to 7m step 6m x{i="a"}\n x{i="a"} 1 3',
        "eval instant at 1m rate(x)\n expect fail",
        "eval_fail instant at 1m x * on() x",
        "eval_ordered instant at 1m sort_desc(x)\n x{i='b'} 5\n x{i='a'} 2",
        "eval instant at 1m x > 9\n expect no_info",
        "eval instant at 1m sum(x @ start())\n {} 7",
        "eval instant at 1m time()\n 60",
        r'eval instant at 1m "\"s\""' + '\n expect string "\\"s\\""',
    ],
)
def test_passes(case: str) -> None:
    assert judge(case).outcome == "passed", judge(case).reason


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ('eval instant at 1m x{i="a"}\n x{i="a"} 2.00001', "expected 2.00001, got 2.0"),
        ("eval instant at 1m x\n x{i='a'} 2", "unexpected"),
        ("eval instant at 1m x{i='a'}\n x{i='a'} 2\n x{i='b'} 5", "missing"),
        ("eval instant at 1m x{i='a'}", "unexpected"),
        ("eval instant at 1m x{i='a'}\n x{i='a'} 2 3", "expected 2 points"),
        ("eval instant at 1m vector(1)\n 1", "expected a scalar"),
        ("eval instant at 1m 1\n {} 1", "expected a vector"),
        ('eval instant at 1m "s"\n expect string "t"', "expected the string 't', got 's'"),
        ("eval instant at 1m vector(NaN)\n {} 0", "got nan"),
        ("eval instant at 1m vector(Inf)\n {} 1e308", "got inf"),
        ('eval range from 0 to 2m step 1m x{i="a"}\n x{i="a"} 1 2', "expected points"),
        ('eval range from 0 to 2m step 1m x{i="a"}\n x{i="a"} 1 _ 3', "expected points"),
        ("eval instant at 1m x\n expect fail", "expected a failure"),
        ("eval instant at 1m x * on() x\n expect fail msg: some other failure", "got the error: found duplicate"),
        ("eval instant at 1m x * on() x\n expect fail regex: some other failure", "got the error: found duplicate"),
        ("eval instant at 1m x * on() x", "got the error: found duplicate"),
        ("eval instant at 1m sort(x)\n expect ordered\n x{i='b'} 5\n x{i='a'} 2", "expected the order"),
        ("eval instant at 2m x{i='a'}[2m]\n expect range vector from 0 to 1m step 1m\n x{i='a'} 2 3", "points"),
    ],
)
def test_fails(case: str, reason: str) -> None:
    verdict = judge(case)
    assert verdict.outcome == "failed"
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("eval instant at 1m limitk(1, x)", "limitk()"),
        ("eval instant at 1m x[1m+1m]", "duration expressions"),
        ("eval instant at 1m h\n {} {{count:1}}", "native histograms"),
        ("eval instant at 1m sum(h)\n {} 1", "native histograms"),
        ("eval instant at 1m c\n c 1", "start timestamps"),
        ("eval instant at 1m 1\n expect warn\n 1", "annotations"),
        ("eval_info instant at 1m 1\n 1", "annotations"),
    ],
)
def test_out_of_scope(case: str, reason: str) -> None:
    verdict = judge(case, "load 1m\n h {{count:1}}\n c@st -1m\n c 1\n\n")
    assert verdict.outcome == "out of scope"
    assert reason in verdict.reason


def test_clear_forgets_the_data() -> None:
    assert judge("clear\n\neval instant at 1m x").outcome == "passed"


def test_loads_add_up() -> None:
    assert (
        judge(
            'load 30s\n x{i="a"} 9 10\n\neval instant at 1m x{i="a"}[2m]\n'
            + (' expect range vector from 0 to 1m step 30s\n x{i="a"} 9 10 2')
        ).outcome
        == "passed"
    )


def test_line_of_a_verdict_is_that_of_its_eval() -> None:
    assert judge("# comment\neval instant at 1m x > 9").line == 7


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("1 -2.5 1e3 .5", (1.0, -2.5, 1000.0, 0.5)),
        ("1x2", (1.0, 1.0, 1.0)),
        ("1+2x2", (1.0, 3.0, 5.0)),
        ("1-2x2", (1.0, -1.0, -3.0)),
        ("-1-2x1", (-1.0, -3.0)),
        ("_ 1 _x2", (None, 1.0, None, None)),
        ("Inf -Inf", (float("inf"), float("-inf"))),
    ],
)
def test_points(points: str, expected: tuple[float | None, ...]) -> None:
    (load,) = parse(f"load 5m\n x {points}")
    assert isinstance(load, Load)
    assert load.series == (((("__name__", "x"),), expected),)
    assert load.step_ms == 300_000


@pytest.mark.parametrize(
    "script",
    [
        "evaluate this",
        "eval instant at soon x",
        "load often\n x 1",
        "load 1m\n x one",
        "load 1m\n x",
        "load 1m\n x{ 1",
        'load 1m\n x{a=~"b"} 1',
        "load 1m\n 1 1",
        "load 1m\n x 1x1000000000",
        "load 1m\n x 1x99999999999999999999",
        "eval range from 0 to 1y step 1s 1",
        "eval range from 1m to 0 step 1s 1",
        "eval range from 0 to 1m step 0 1",
        "eval instant at 1m 1\n expect nothing",
        "eval instant at 1m 1\n expect string unquoted",
        "eval instant at 1m 1\n expect fail regex: (",
    ],
)
def test_not_a_script(script: str) -> None:
    with pytest.raises(ScriptError, match="line 2: "):
        list(parse("\n" + script))


def test_a_case_is_also_asked_with_a_fixed_time_and_in_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    steps = evaluate.steps
    monkeypatch.setattr(evaluate, "steps", lambda *arguments: asked.append(arguments[2:5]) or steps(*arguments))
    assert judge('eval instant at 1m x{i="a"}\n x{i="a"} 2').outcome == "passed"
    assert asked == [
        (time_ms - 60_000, time_ms + 60_000, 60_000) for time_ms in (60_000, -600_000, 0, 12_000, 60_000, 600_000)
    ]
