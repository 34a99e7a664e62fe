"""Prometheus' remote write protocol 1.0, as much as sending samples needs. It carries the bits of every NaN.

prompb/remote.proto and types.proto:
    WriteRequest {repeated TimeSeries timeseries = 1}
    TimeSeries {repeated Label labels = 1; repeated Sample samples = 2}
    Label {string name = 1; string value = 2}
    Sample {double value = 1; int64 timestamp = 2}
"""

import struct
from collections.abc import Iterable

from tests.promql.differential.data import Samples

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_LENGTH_DELIMITED, _DOUBLE, _VARINT = 2, 1, 0
_LITERAL_BYTES = 1 << 16


def body(series: Iterable[Samples]) -> bytes:
    """A request that appends these samples."""
    return _snappy(b"".join(_message(1, _time_series(samples)) for samples in series))


def _time_series(samples: Samples) -> bytes:
    labels = [_message(1, _message(1, name.encode()) + _message(2, value.encode())) for name, value in samples.labels]
    points = [
        _message(2, _key(1, _DOUBLE) + struct.pack("<d", value) + _key(2, _VARINT) + _varint(time_ms))
        for time_ms, value in samples.points.items()
    ]
    return b"".join(labels + points)


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _LENGTH_DELIMITED) + _varint(len(content)) + content


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _snappy(content: bytes) -> bytes:
    """The block format of Snappy with literals only, so nothing is compressed."""
    result = bytearray(_varint(len(content)))
    for start in range(0, len(content), _LITERAL_BYTES):
        literal = content[start : start + _LITERAL_BYTES]
        result += bytes([61 << 2]) + struct.pack("<H", len(literal) - 1) + literal
    return bytes(result)
