"""The range coder and its tables: round trips, carries, overhead, stored bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vidtok.fakes import generators, tables
from vidtok.entropy import (
    NO_VALUE,
    PROB_BITS,
    SHAPES,
    TOTAL,
    TURNS,
    RangeDecoder,
    RangeEncoder,
    Tables,
    fit_tables,
    load_tables,
    prior_weights,
    to_frequencies,
)
from vidtok.errors import PayloadError, WeightsError
from vidtok.tokenizer.fsq import GIST_EDGES, VALUES

Table = list[int]  # cumulative, 0 first, TOTAL last


@st.composite
def coder_tables(draw: st.DrawFn) -> Table:
    """Any table: cuts anywhere, often at the very ends, where probabilities are extreme."""
    cut = st.one_of(st.integers(1, TOTAL - 1), st.sampled_from([1, 2, TOTAL - 2, TOTAL - 1]))
    return [0, *sorted(draw(st.sets(cut, max_size=12))), TOTAL]


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[Table, int]]:
    """Symbols, each with the table it is coded by."""
    some = draw(st.lists(coder_tables(), min_size=1, max_size=4))
    picks = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), max_size=200))
    chosen = [(some[place % len(some)], symbol) for place, symbol in picks]
    return [(table, symbol % (len(table) - 1)) for table, symbol in chosen]


def encoded(message: list[tuple[Table, int]]) -> bytes:
    coder = RangeEncoder()
    for table, symbol in message:
        coder.encode([(table[symbol], table[symbol + 1] - table[symbol])])
    return coder.finish()


def decoded(data: bytes, message: list[tuple[Table, int]]) -> list[int]:
    decoder = RangeDecoder(data)
    symbols = [decoder.decode(table) for table, _ in message]
    decoder.finish()
    return symbols


def ideal_bits(message: list[tuple[Table, int]]) -> float:
    return sum(PROB_BITS - math.log2(table[symbol + 1] - table[symbol]) for table, symbol in message)


HALVES = [0, TOTAL // 2, TOTAL]
RARE = [0, 1, TOTAL]
COMMON = [0, TOTAL - 1, TOTAL]


@given(messages())
@example([(RARE, 0)] * 40)
@example([(RARE, 1)] * 400)
@example([(COMMON, 1)] * 40)
@example([(COMMON, 0)] * 400)
@example([(COMMON, 1), *[(RARE, 1)] * 50] * 5)
def test_what_goes_in_comes_out(message: list[tuple[Table, int]]) -> None:
    data = encoded(message)
    assert decoded(data, message) == [symbol for _, symbol in message]
    assert not data.endswith(b"\0")


@given(messages())
def test_zeros_past_the_end_are_read_when_they_were_left_off(message: list[tuple[Table, int]]) -> None:
    data = encoded(message)
    decoder = RangeDecoder(data + bytes(8))
    assert [decoder.decode(table) for table, _ in message] == [symbol for _, symbol in message]


@given(messages())
def test_no_shorter_bytes_say_the_same(message: list[tuple[Table, int]]) -> None:
    data = encoded(message)
    if not data:
        return
    cut = int.from_bytes(data[:-1], "big")
    for number in (cut, cut + 1):  # of all shorter byte strings these two lie nearest
        if number < 256 ** (len(data) - 1):
            shorter = number.to_bytes(len(data) - 1, "big")
            try:
                symbols = decoded(shorter, message)
            except PayloadError:
                continue
            assert symbols != [symbol for _, symbol in message]


@settings(max_examples=40)
@given(generators, st.integers(1, 3000), st.integers(2, 40))
def test_overhead_is_two_bytes_and_half_a_percent(rng: np.random.Generator, count: int, symbols: int) -> None:
    frequencies = to_frequencies(rng.random((3, symbols)) ** 4 + 1e-6)
    cumulative = np.pad(frequencies.cumsum(-1, dtype=np.int64), ((0, 0), (1, 0))).tolist()
    message = []
    for row in rng.integers(0, 3, count).tolist():
        message.append((cumulative[row], int(rng.choice(symbols, p=frequencies[row] / TOTAL))))
    data = encoded(message)
    assert decoded(data, message) == [symbol for _, symbol in message]
    assert len(data) * 8 <= ideal_bits(message) * 1.005 + 16


def test_carries_ripple_through_long_chains_of_full_bytes() -> None:
    rippled = 0
    for head in range(40):
        # Symbols that keep low just under a power of two, then one that pushes it over.
        message = [(HALVES, 1)] * 3 + [([0, TOTAL - 1 - head, TOTAL], 1)] + [(HALVES, 1)] * 64 + [(COMMON, 1)] * 3
        coder = RangeEncoder()
        lengths = set()
        for table, symbol in message:
            coder.encode([(table[symbol], table[symbol + 1] - table[symbol])])
            lengths.add(symbol)
        assert decoded(coder.finish(), message) == [symbol for _, symbol in message]
    rng = np.random.default_rng(1)
    for _ in range(300):
        ends = [int(n) for n in rng.integers(0, 2, 60)]
        message = [(COMMON if end else HALVES, 1) for end in ends]
        data = encoded(message)
        rippled += b"\xff\xff" in data or b"\0\0" in data
        assert decoded(data, message) == [1] * 60
    assert rippled


def test_a_carry_crosses_bytes_that_were_already_put_out() -> None:
    coder = RangeEncoder()
    before = bytearray()
    message = []
    rng = np.random.default_rng(5)
    crossed = 0
    for _ in range(4000):
        table = [0, TOTAL - 3, TOTAL] if rng.random() < 0.5 else [0, 3, TOTAL]
        symbol = int(rng.integers(2))
        message.append((table, symbol))
        coder.encode([(table[symbol], table[symbol + 1] - table[symbol])])
        now = bytearray(encoded_so_far(coder))
        crossed += now[: len(before)] != before
        before = now
    assert crossed > 3
    assert decoded(coder.finish(), message) == [symbol for _, symbol in message]


def encoded_so_far(coder: RangeEncoder) -> bytes:
    """The bytes that have left the coder; a carry may still change them."""
    return bytes(coder._out)


@given(st.lists(st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, max(0, 2**n - 1))))))
def test_raw_bits_come_back(numbers: list[tuple[int, int]]) -> None:
    coder = RangeEncoder()
    for count, value in numbers:
        coder.bits(value, count)
    data = coder.finish()
    decoder = RangeDecoder(data)
    assert [decoder.bits(count) for count, _ in numbers] == [value for _, value in numbers]
    decoder.finish()
    assert len(data) * 8 <= sum(count for count, _ in numbers) * 1.005 + 16


def test_nothing_is_no_bytes() -> None:
    assert RangeEncoder().finish() == b""
    RangeDecoder(b"").finish()


def test_bytes_left_over_are_an_error() -> None:
    with pytest.raises(PayloadError, match="3 bytes too many"):
        RangeDecoder(b"\1\2\3\4\5\6\7").finish()


@given(st.binary(max_size=60), coder_tables())
def test_any_bytes_decode_to_symbols_of_the_table_or_an_error(data: bytes, table: Table) -> None:
    decoder = RangeDecoder(data)
    try:
        symbols = [decoder.decode(table) for _ in range(50)]
    except PayloadError:
        return
    assert all(0 <= symbol < len(table) - 1 for symbol in symbols)


def test_golden_bytes() -> None:
    table = [0, 100, 1100, 4000, TOTAL]
    message = [(table, symbol) for symbol in (0, 1, 2, 3, 3, 2, 2, 2, 1, 0, 0, 3)]
    coder = RangeEncoder()
    for cumulative, symbol in message:
        coder.encode([(cumulative[symbol], cumulative[symbol + 1] - cumulative[symbol])])
    coder.bits(0xABCDE, 20)
    assert coder.finish().hex() == "01a4634e93b8ee68"
    assert encoded(message).hex() == "01a4634e92"
    assert encoded([(HALVES, 1)] * 24).hex() == "ffffb701"
    assert encoded([(COMMON, 1)] * 4).hex() == "ffffeff0ffff01"
    assert encoded([(COMMON, 0)] * 100).hex() == ""


# -- tables

STORED_BYTES = 2 * sum(math.prod(shape) for shape in SHAPES.values())


@given(generators, st.integers(1, 4), st.integers(2, 60))
def test_frequencies_sum_up_and_none_is_zero(rng: np.random.Generator, rows: int, symbols: int) -> None:
    weights = rng.random((rows, symbols)) ** rng.integers(1, 30) + 1e-300
    frequencies = to_frequencies(weights)
    assert frequencies.dtype == np.uint16
    assert (frequencies.sum(-1, dtype=np.int64) == TOTAL).all()
    assert (frequencies > 0).all()
    share = weights / weights.sum(-1, keepdims=True)
    rest = np.arange(symbols) != share.argmax(-1)[:, None]  # the likeliest takes what rounding left
    assert (np.abs(frequencies / TOTAL - share)[rest] < 2 * symbols / TOTAL).all()


@settings(max_examples=10, deadline=None)
@given(generators)
def test_fitted_tables_are_tables_whatever_was_counted(rng: np.random.Generator) -> None:
    counts = {name: rng.random(shape) ** 20 * 1e6 for name, shape in SHAPES.items() if rng.random() < 0.7}
    fitted = fit_tables(counts)
    again = Tables.from_bytes(fitted.to_bytes())
    assert again.digest == fitted.digest
    for name, shape in SHAPES.items():
        assert fitted.frequencies[name].shape == shape
        assert np.array_equal(again.frequencies[name], fitted.frequencies[name])
        assert (np.array(again.lists[name])[:, -1] == TOTAL).all()
        assert (np.diff(np.array(again.lists[name])) > 0).all()


def test_counts_make_their_symbols_cheap() -> None:
    counts = {"density": np.array([0, 0, 1000, 0, 0, 0, 0, 0.0])}
    assert fit_tables(counts).costs["density"].argmin() == 2
    assert fit_tables(counts).costs["density"][2] < 0.1


def test_a_whole_level_of_the_gist_learns_from_one_number_of_it() -> None:
    counts = np.zeros(SHAPES["gist_value"])
    counts[GIST_EDGES[1], 2, NO_VALUE, 5] = 1000
    fitted, prior = (fit_tables(each).costs["gist_value"] for each in ({"gist_value": counts}, {}))
    assert fitted[GIST_EDGES[1], 2, NO_VALUE, 5] < 0.1
    inside = slice(GIST_EDGES[1] + 1, GIST_EDGES[2])
    assert (fitted[inside, 2, NO_VALUE, 5] < prior[inside, 2, NO_VALUE, 5] - 1).all()
    assert np.array_equal(fitted[: GIST_EDGES[1]], prior[: GIST_EDGES[1]])
    assert np.array_equal(fitted[GIST_EDGES[2] :], prior[GIST_EDGES[2] :])


def test_the_prior_repeats_a_gist_the_surer_the_less_of_it_changes() -> None:
    held = np.arange(VALUES)
    kept = tables().costs["gist_value"][:, :, held, held]
    assert (kept.argmin(1) == 0).all()
    assert (np.diff(kept, axis=1) > 0).all()
    assert kept.shape[1] == TURNS
    assert (tables().costs["gist_value"][:, :, NO_VALUE] == np.log2(VALUES)).all()


def test_the_prior_covers_every_table() -> None:
    assert {name: prior.shape for name, prior in prior_weights().items()} == SHAPES
    assert tables().digest.hex() == "5ff3004f12d162f7"
    assert len(tables().digest) == 8


def test_stored_tables_come_back() -> None:
    data = tables().to_bytes()
    assert Tables.from_bytes(data).to_bytes() == data
    assert len(data) == STORED_BYTES


@given(st.binary(max_size=300))
def test_any_bytes_are_tables_or_an_error(data: bytes) -> None:
    with pytest.raises(WeightsError, match="not the tables"):
        Tables.from_bytes(data)


@settings(max_examples=40, deadline=2000)
@given(st.lists(st.tuples(st.integers(0, STORED_BYTES - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_tables_are_an_error_or_still_tables(damage: list[tuple[int, int]]) -> None:
    data = bytearray(tables().to_bytes())
    for place, value in damage:
        data[place] = value
    try:
        read = Tables.from_bytes(bytes(data))
    except WeightsError:
        return
    assert all((f.sum(-1, dtype=np.int64) == TOTAL).all() and (f > 0).all() for f in read.frequencies.values())


@settings(max_examples=20, deadline=2000)
@given(generators)
def test_random_bytes_of_the_right_length_are_an_error(rng: np.random.Generator) -> None:
    with pytest.raises(WeightsError, match=r"here\.bin: .* damaged"):
        Tables.from_bytes(rng.bytes(len(tables().to_bytes())), "here.bin")


def test_shipped_tables_load() -> None:
    assert set(load_tables().frequencies) == set(SHAPES)


def test_missing_tables_are_named(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(WeightsError, match=r"nowhere\.bin: no such file"):
        load_tables(Path(str(tmp_path)) / "nowhere.bin")
