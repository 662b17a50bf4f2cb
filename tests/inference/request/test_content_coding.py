"""Compressed request bodies: what is accepted, and the limits before and after decompression."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from proxy.cooperative import run_now
from proxy.errors import BadRequest, BodyTooLarge, UnsupportedMediaType
from proxy.inference.request.content_coding import decompress

BODY = b'{"model":"m","x":"%b"}' % b"abc" * 10
MIB = 1024**2

CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
both_codings = pytest.mark.parametrize("coding", CODINGS)


def plain(body: bytes, coding: str | bytes, limit: int = MIB) -> bytes:
    return run_now(decompress(body, coding.encode() if isinstance(coding, str) else coding, limit))


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY, 9)),
        (" GZip ", gzip.compress(BODY, 0)),
        ("gzip", gzip.compress(BODY[:7]) + gzip.compress(b"") + gzip.compress(BODY[7:])),
        ("zstd", zstd.compress(BODY)),
        ("ZSTD", zstd.compress(BODY, 19)),
        ("zstd", zstd.compress(BODY[:7]) + b"\x50\x2a\x4d\x18\x02\0\0\0xx" + zstd.compress(BODY[7:])),
        ("identity", BODY),
        ("", BODY),
    ],
    # The data contains the time, and the ids must be equal in all worker processes.
    ids=["gzip", "x-gzip", "spaces", "members", "zstd", "upper case", "frames", "identity", "none"],
)
def test_a_body_is_decompressed(coding: str, packed: bytes) -> None:
    assert plain(packed, coding) == BODY


@both_codings
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 262_144, 262_145, 524_288, MIB])
def test_a_body_of_up_to_the_limit_is_accepted(coding: str, size: int) -> None:
    for body in (bytes(size), bytes(range(256)) * (size // 256 + 1)):
        assert plain(CODINGS[coding](body[:size]), coding) == body[:size]


@both_codings
def test_a_body_beyond_the_limit_is_rejected(coding: str) -> None:
    with pytest.raises(BodyTooLarge, match="exceeds the limit of 1,048,576 bytes"):
        plain(CODINGS[coding](bytes(MIB + 1)), coding)


@both_codings
def test_a_bomb_is_decompressed_in_short_steps_up_to_the_limit_only(coding: str) -> None:
    bomb = CODINGS[coding](bytes(256 * MIB))
    tracemalloc.start()
    try:
        steps = decompress(bomb, coding.encode(), MIB)
        for _ in range(4):  # of 256 KiB
            next(steps)
        with pytest.raises(BodyTooLarge):
            next(steps)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * MIB


@both_codings
@pytest.mark.parametrize("kept", [0, 1, 5, 10, -1, -5])
def test_a_truncated_body_is_rejected(coding: str, kept: int) -> None:
    with pytest.raises(BadRequest, match="truncated"):
        plain(CODINGS[coding](BODY)[:kept], coding)


@both_codings
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda packed: BODY, id="not compressed"),
        pytest.param(lambda packed: packed + b"trailing bytes", id="trailing bytes"),
        pytest.param(lambda packed: packed + bytes(20), id="trailing zeros"),
        pytest.param(lambda packed: packed[:2] + b"\xff\xff\xff\xff" + packed[6:], id="damaged"),
        pytest.param(lambda packed: zlib.compress(BODY), id="deflate"),
    ],
)
def test_invalid_data_is_rejected(coding: str, body: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadRequest, match=f"not valid {coding} data"):
        plain(body(CODINGS[coding](BODY)), coding)


@both_codings
def test_a_body_of_very_many_members_is_rejected(coding: str) -> None:
    empty = CODINGS[coding](b"")

    assert plain(empty * 1000, coding) == b""
    with pytest.raises(BadRequest, match="more than 1000 members or frames"):
        plain(empty * 100_000, coding)


@pytest.mark.parametrize(("window_log", "is_accepted"), [(23, True), (24, False), (27, False)])
def test_zstd_windows_above_8_mib_are_rejected(window_log: int, is_accepted: bool) -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    packed = compressor.compress(BODY) + compressor.flush()  # the size is not in the frame

    if is_accepted:
        assert plain(packed, "zstd") == BODY
    else:
        with pytest.raises(BadRequest, match="window of more than 8 MiB"):
            plain(packed, "zstd")


@pytest.mark.parametrize("coding", ["br", "deflate", "compress", "gzip, zstd", "gzip, gzip", "gzip, identity", "\xff"])
def test_other_codings_and_several_codings_are_not_supported(coding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="use gzip, zstd or none"):
        plain(gzip.compress(BODY), coding.encode("latin-1"))
