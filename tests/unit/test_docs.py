"""What the documents say is so: their examples load, and they name every key and knob."""

import re
from pathlib import Path

import pytest

from actuator import config
from actuator.config import TUNE_KEYS
from actuator.knobs import KNOBS
from actuator.limits import LIMIT_KEYS

TOP = Path(__file__).parents[2]
DOCUMENTS = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]
EXAMPLES = [
    pytest.param(example, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, example in enumerate(re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.M | re.S), start=1)
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_loads(example: str) -> None:
    assert config.loads(example).tunes != ()


@pytest.mark.parametrize("word", [*TUNE_KEYS, *KNOBS, *LIMIT_KEYS])
def test_every_key_and_knob_is_documented(word: str) -> None:
    assert f"`{word}`" in (TOP / "docs/rules.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / link).exists(), link
