"""What the documents say is so: their examples load, and they name every key and knob."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from actuator import promql
from actuator.__main__ import main
from actuator.commands import parser
from actuator.console import history, pause
from actuator.data import httpconfigfile
from actuator.decision import Decision
from actuator.knobs import KNOBS
from actuator.placement import STRATEGIES
from actuator.promql.refused import HINTS
from actuator.rules import config, keys
from kvmhost.domainpolicy import ATTRIBUTES
from tests import actuatordoc, flagsdoc, knobsdoc, privilegesdoc
from tests.unit import test_top
from tests.web import Authority, needs_openssl

TOP = Path(__file__).parents[2]
DOCUMENTS = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]
METRICS = set(re.findall(r"^\| `(kvm_\w+)` \|", (TOP / "docs/metrics.md").read_text(), re.M))
EXAMPLES = [
    pytest.param(example, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, example in enumerate(
        re.findall(r"^```yaml\n(?!# (?:web|http|\S+\.test)\.yml)(.*?)^```", document.read_text(), re.M | re.S), start=1
    )
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_loads(example: str) -> None:
    assert config.loads(example).tunes != ()


def test_the_example_of_a_test_of_rules_runs_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (TOP / "docs/testing-rules.md").read_text()
    rule, test = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    passed, failed = re.findall(r"^```\n\$ kvmtune-actuator test \.\n(.*?)^```", page, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    Path("swap.test.yml").write_text(test)
    for text, printed in ((rule, passed), (rule.replace("for: 1m", "for: 2m"), failed)):
        Path("swap.yml").write_text(text)
        main(["test", "."])
        assert capsys.readouterr().out == printed


HTTP_CONFIGS = re.findall(r"^```yaml\n(# http\.yml.*?)^```", (TOP / "docs/promql.md").read_text(), re.M | re.S)


@needs_openssl
@pytest.mark.parametrize("example", HTTP_CONFIGS)
def test_an_http_configuration_loads(example: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.issue("client")
    for name in ("password", "token"):
        (tmp_path / name).write_text("secret\n")
    (tmp_path / "http.yml").write_text(example)
    assert httpconfigfile.load(tmp_path / "http.yml").request_headers()["Authorization"]


@pytest.mark.parametrize("key", [*httpconfigfile.KEYS, "oauth2", "proxy_url"])
def test_every_key_of_an_http_configuration_is_documented(key: str) -> None:
    assert f"`{key}`" in (TOP / "docs/promql.md").read_text()


REFUSALS = re.findall(r"^\| .* \| `([^`]+)` \| `([^`]+)` \|$", (TOP / "docs/promql.md").read_text(), re.M)


def test_there_are_refusals() -> None:
    assert len(REFUSALS) >= 9


@pytest.mark.parametrize(("refused", "instead"), REFUSALS)
def test_what_is_refused_has_a_way_around(refused: str, instead: str) -> None:
    with pytest.raises(promql.PromqlError):
        promql.compile(refused)
    assert promql.compile(instead.replace("\\|", "|"))


COMMANDS = [
    command
    for document in DOCUMENTS
    for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.M | re.S)
    for command in re.findall(r"^kvmtune-actuator (.*?)(?: +#.*| > [\w.-]+)?$", block, re.M)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    assert parser().parse_args(shlex.split(command)).command


QUERIES = re.findall(r"^\| .*\? \| `([^`]+)` \|$", (TOP / "docs/exporter.md").read_text(), re.M)


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_one_over_metrics_that_exist(query: str) -> None:
    assert promql.compile(query).metric_names <= METRICS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_metrics_that_are_named_exist(document: Path) -> None:
    named = set(re.findall(r"\bkvm_[a-z_]*[a-z]\b(?!_?\*)", document.read_text()))
    assert not named - METRICS


TABLES = (keys.GROUP, keys.RECORD, keys.TUNE, keys.PLACE, keys.ALLOCATE, keys.VERIFY, keys.RADIUS, keys.GUEST)


@pytest.mark.parametrize("key", [key for table in TABLES for key in table], ids=lambda key: key.name)
def test_every_key_of_a_rule_file_is_documented_as_it_is(key: keys.Key) -> None:
    assert f"\n| `{key.name}` | {key.meaning} |\n" in (TOP / "docs/rules.md").read_text()


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_what_metadata_can_say_is_documented(attribute: str) -> None:
    assert attribute in keys.required(keys.GUEST) + keys.optional(keys.GUEST)


def test_the_metrics_of_the_actuator_are_documented_as_they_are() -> None:
    assert actuatordoc.PAGE.read_text() == actuatordoc.written(), "make golden"


@pytest.mark.parametrize("word", [*actuatordoc.OUTCOMES, *actuatordoc.REASONS])
def test_what_becomes_of_a_setpoint_is_documented(word: str) -> None:
    assert f"\n| `{word}` |" in (TOP / "docs/actuator.md").read_text()


def test_the_knobs_are_documented_as_they_are() -> None:
    assert knobsdoc.PAGE.read_text() == knobsdoc.written(), "make golden"
    assert privilegesdoc.PAGE.read_text() == privilegesdoc.written(), "make golden"
    assert privilegesdoc.TMPFILES.read_text() == privilegesdoc.tmpfiles(), "make golden"


def test_commands_and_flags_are_documented_as_they_are() -> None:
    assert flagsdoc.PAGE.read_text() == flagsdoc.written(), "make golden"


@pytest.mark.parametrize("name", KNOBS)
def test_every_knob_is_documented(name: str) -> None:
    assert f"| `{name}` |" in knobsdoc.PAGE.read_text()


@pytest.mark.parametrize("word", [*keys.DIVISIONS, *STRATEGIES, *keys.optional(keys.LIMITS)])
def test_every_word_is_documented(word: str) -> None:
    assert f"`{word}`" in (TOP / "docs/rules.md").read_text()


@pytest.mark.parametrize("word", HINTS)
def test_every_refusal_is_documented(word: str) -> None:
    assert f"`{word}`" in (TOP / "docs/promql.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_what_is_for_other_programs_is_yaml(document: Path) -> None:
    for example in re.findall(r"^```yml\n(.*?)^```", document.read_text(), re.M | re.S):
        assert yaml.safe_load(example)


def anchors(document: Path) -> set[str]:
    """What the headings of a page are linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", document.read_text()):
        target = document.parent / link if link else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


ABOUT_COMMANDS = (TOP / "docs/commands.md").read_text()


def test_the_lines_of_a_history_are_read() -> None:
    lines = re.findall(r'^\{"kind".*', ABOUT_COMMANDS, re.M)
    assert [type(history.decode(line.encode()).entry) for line in lines] == [Decision, history.Faults, history.Event]


def test_a_pause_made_by_hand_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r'^\{"since".*', ABOUT_COMMANDS, re.M)
    (tmp_path / pause.NAME).write_text(text)
    assert pause.read(tmp_path, now=1795684331) == pause.Pause(**json.loads(text))


def test_the_frame_of_top_is_as_documented() -> None:
    (frame,) = re.findall(r"^```\n([\d:]{8}  the actuator.*?)\n```", ABOUT_COMMANDS, re.M | re.S)
    without_times = [re.sub(r"^[\d:]{8}", "", line) for line in frame.splitlines()]
    assert without_times == [re.sub(r"^[\d:]{8}", "", line) for line in test_top.drawn(test_top.SCENE)]
