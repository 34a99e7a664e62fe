"""Durations and sizes: what is accepted, what is refused, and that nothing is guessed."""

import pytest

from kvmhost.units import duration_seconds, format_bytes, format_seconds, size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("1d", 86400), ("1h1m1s1ms", 3661.001), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)
    assert duration_seconds(format_seconds(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "1s1m", "-5s", "1.5s", "15 parsecs", "٣s"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write it like"):
        duration_seconds(text)


@pytest.mark.parametrize("text", ["36501d", "36500d1ms", "999999999h", "9" * 400 + "s"])
def test_no_wait_takes_longer_than_a_century(text: str) -> None:
    assert duration_seconds("36500d") == 36500 * 86400
    with pytest.raises(ValueError, match="is too long: write at most 36500d"):
        duration_seconds(text)


@pytest.mark.parametrize(
    ("text", "count"), [("1B", 1), ("64MiB", 64 * 2**20), ("1.5 GiB", 3 * 2**29), ("2TiB", 2**41), ("10KiB", 10240)]
)
def test_sizes(text: str, count: int) -> None:
    assert size_bytes(text) == count


@pytest.mark.parametrize("text", ["", "64", "64MB", "MiB", "-1MiB", "64 mib", "1e3MiB", "٣MiB", "9" * 400 + "B"])
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write it like"):
        size_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (2**28, "256 MiB"), (3 * 2**29, "1.5 GiB"), (-(2**20), "-1 MiB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text
