"""`kvmtune-actuator query` on a real exporter or server, in this process: what it prints where, and its exit status."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from actuator.__main__ import main
from actuator.commands.query import pointed, sample
from actuator.data.scrape import ScrapeError, Scraper
from actuator.data.store import Store
from actuator.promql.labels import make
from tests import promserver
from tests.target import OK, Target

PAGE = OK + b'kvm_ksm_run 1\nkvm_free_bytes{node="0"} 10\nkvm_free_bytes{node="1"} 20\n'


@pytest.fixture
def target() -> Iterator[Target]:
    with closing(Target()) as target:
        target.answer = PAGE
        yield target


def ask(target: Target, *arguments: str) -> int:
    return main(["query", "--scrape.url", f"http://{target.address}/metrics", *arguments])


def test_a_table(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(target, "sum by (node) (kvm_free_bytes) > 5") == 0
    assert capsys.readouterr() == ("node  VALUE\n0     10\n1     20\n", "")


def test_json_and_promtool(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(target, "-o", "json", "max(kvm_free_bytes)") == 0
    assert json.loads(capsys.readouterr().out)["result"][0]["value"][1] == "20"
    assert ask(target, "--output", "promtool", "max(kvm_free_bytes)") == 0
    assert capsys.readouterr().out.startswith("{} => 20 @[")


@pytest.mark.parametrize(
    ("expression", "status", "told"),
    [
        ("kvm_ksm_run > 1", 0, "empty result: the data are there, and nothing in them fulfils the condition\n"),
        ("kvm_ksm_rum", 0, "empty result: there is no kvm_ksm_rum (did you mean kvm_ksm_run?)\n"),
        ('kvm_ksm_run{node="7"}', 0, "empty result: nothing matches\n"),
        ("rate(kvm_ksm_run[1m])", 0, "empty result: a range needs samples over time: add for instance --for 30s"),
        ("kvm_free_bytes * on() kvm_free_bytes", 1, "many-to-many matching not allowed"),
        ("kvm_ksm_run >", 2, "invalid promql query: something is missing after '>'\n  kvm_ksm_run >\n"),
        ("limit_ratio(0.5, kvm_ksm_run)", 2, "limit_ratio(): not supported"),
    ],
)
def test_what_is_told(
    target: Target, capsys: pytest.CaptureFixture[str], expression: str, status: int, told: str
) -> None:
    assert ask(target, expression) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert told in output.err


def test_an_exporter_that_fails(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    target.answer = b"HTTP/1.1 404 Not Found\r\n\r\n"
    assert ask(target, "1") == 1
    assert "answered 404 Not Found; is the path right?" in capsys.readouterr().err


def test_samples_over_time(target: Target) -> None:
    """Time is a parameter, so it does not pass."""
    store = Store(300)
    time, told = 1000.0, []

    def sleep(seconds: float) -> None:
        nonlocal time
        time += seconds

    exporter = Scraper(f"http://{target.address}", store)
    assert sample(exporter, 30.0, 10.0, lambda: time, sleep, told.append) == 1030.0
    assert told == [f"scrape {number} of 4: 3 samples" for number in (1, 2, 3)]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    assert sample(exporter, 30.0, 10.0, lambda: time, interrupt, told.append) == 1030.0
    assert told[-1] == "stopped early; the result is of what there is"

    def fail(_: float) -> None:
        target.answer = b""

    with pytest.raises(ScrapeError, match="is the exporter running"):
        sample(exporter, 10.0, 10.0, lambda: time, fail, told.append)


def test_a_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(300)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    for instance in ("a", "b"):
        store.append(make({"__name__": "x", "instance": instance}), 1000.0, 1.0)
    with promserver.serving(store) as server:
        asked = ["query", "--query.url", server.url]
        assert main([*asked, "sum(x)"]) == 0  # a person may ask about all hosts
        assert main([*asked, "x > 1"]) == 0
        assert main([*asked, "x > "]) == 2
        assert main([*asked, "x * on() x"]) == 1
    output = capsys.readouterr()
    assert output.out == "2\n"
    assert "empty result: nothing matches, or nothing fulfils the condition\n" in output.err
    assert "something is missing after '>' (bad_data)\n  x > \n" in output.err
    assert "many-to-many matching not allowed" in output.err
    assert main([*asked, "x", "--for", "30s"]) == 2
    assert "a server has samples over time already" in capsys.readouterr().err
    assert main([*asked, "x"]) == 1
    assert "Connection refused; is the server running?" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["query", "x"], ["run"]])
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--query.url", "http://localhost", "--scrape.config.file", "http.yml"], "give --query.config.file"),
        (["--query.config.file", "http.yml"], "give its --query.url, too"),
    ],
)
def test_a_password_for_whom_nobody_asks_is_named(
    command: list[str], flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *flags]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["query"], "the following arguments are required: EXPR"),
        (["query", "x", "--for", "long"], "'long' is not a duration"),
        (["query", "x", "--interval", "0s"], "'0s' is no time at all: write for instance 5s"),
        (["query", "x", "--query.url", "prometheus:9090"], "expected a URL such as http://prometheus:9090"),
        (["query", "x", "--query.url", "http://a", "--scrape.url", "http://b"], "not allowed with argument"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert told in capsys.readouterr().err


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["query", "--help"])
    assert "kvmtune-actuator query 'rate(kvm_domain_vcpu_delay_seconds_total[1m])' --for 30s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("expression", "message", "lines"),
    [
        ("1 +", "1:4: parse error: unexpected end", ["  1 +", "     ^"]),
        ("sum(\n  x y)", "2:5: parse error: unexpected y", ["    x y)", "      ^"]),
        ("x", "9:9: parse error: nowhere", ["  x"]),
        ("x", "no place", ["  x"]),
    ],
)
def test_an_error_points_into_the_expression(expression: str, message: str, lines: list[str]) -> None:
    assert pointed(expression, message).split("\n") == [message, *lines]
