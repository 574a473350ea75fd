"""Clocks that start anew, and what tells the time of an event; expected values are computed by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL = settings(deadline=None, max_examples=25)
CLOCKS = {
    "aedat2": (".aedat", lambda write, events: write.aedat2(events), 32),
    "dat": (".dat", lambda write, events: write.dat(events), 32),
    "evt2": (".raw", lambda write, events: write.evt2(events), 34),
    "evt3": (".raw", lambda write, events: write.evt3(events), 24),
}


def at(*times):
    return [(1, 2, t, 1) for t in times]


def times(recording):
    return [t for _, _, t, _ in recording[0]]


@pytest.mark.parametrize("name", CLOCKS)
@SMALL
@given(data=st.data())
def test_a_clock_may_start_anew_any_number_of_times(write, read, name, data):
    suffix, encode, bits = CLOCKS[name]
    step = st.integers(0, (1 << bits - 1) - 5000)  # a longer one cannot be told from a step back
    t, expected = 0, []
    for more in data.draw(st.lists(step, min_size=1, max_size=20)):
        t += more
        expected.append(t)
    assert times(read(encode(write, at(*expected)), suffix)) == expected


@pytest.mark.parametrize("name", CLOCKS)
def test_the_last_microsecond_of_a_clock_and_its_first(write, read, name):
    suffix, encode, bits = CLOCKS[name]
    half = 1 << bits - 1
    expected = [half - 1, 2 * half - 1, 2 * half, 3 * half - 1, 4 * half - 1, 4 * half + 1]
    assert times(read(encode(write, at(*expected)), suffix)) == expected


@pytest.mark.parametrize("name", CLOCKS)
def test_a_small_step_back_is_none(write, read, name):
    suffix, encode, _ = CLOCKS[name]
    assert times(read(encode(write, at(90_000, 89_999, 70_000, 90_001)), suffix)) == [90_000, 89_999, 70_000, 90_001]


def test_aedat3_counts_the_starts_in_each_packet(write, read):
    pair = (7 << 17 | 5 << 2 | 3).to_bytes(4, "little") + (9).to_bytes(4, "little")
    packets = [write.packet3(1, 8, pair, overflows) for overflows in (0, 1, 3)]
    assert read(write.aedat3([], packets=packets), ".aedat")[0] == [
        (7, 5, 9, 1),
        (7, 5, (1 << 31) + 9, 1),
        (7, 5, (3 << 31) + 9, 1),
    ]


def test_bin_marks_each_start_on_row_240(write, read):
    events = [(1, 2, 8000, 1), (0, 240, 8191, 0), (3, 4, 5, 0), (0, 240, 8191, 0), (0, 240, 8191, 1), (5, 6, 7, 1)]
    assert read(write.atis_bin(events), ".bin")[0] == [(1, 2, 8000, 1), (3, 4, 8197, 0), (5, 6, 3 * 8192 + 7, 1)]


def test_evt2_events_before_the_first_full_time_are_dropped(write, read):
    data = write.evt_header(2) + b"".join(
        word.to_bytes(4, "little")
        for word in (
            0x1 << 28 | 3 << 22 | 5 << 11 | 6,
            0x8 << 28 | 2,
            0x0 << 28 | 3 << 22 | 5 << 11 | 6,
            0xA << 28 | 4 << 22 | 1,  # a trigger
            0xE << 28 | 77,  # others, and what continues them
            0xF << 28 | 88,
            0x1 << 28 | 63 << 22 | 2047 << 11 | 2046,
        )
    )
    assert read(data, ".raw") == ([(5, 6, 2 * 64 + 3, 0), (2047, 2046, 2 * 64 + 63, 1)], None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # x before the first TIME_HIGH, then one with no TIME_LOW yet
        ((0x0007, 0x6010, 0x2805, 0x8001, 0x2805), [(5, 7, 4096, 1)]),
        # the same TIME_HIGH again, as sensors send it every 16 µs, leaves TIME_LOW; another sets it to 0
        ((0x8001, 0x6FFF, 0x0007, 0x2005, 0x8001, 0x2006, 0x8002, 0x2007),
         [(5, 7, 8191, 0), (6, 7, 8191, 0), (7, 7, 8192, 0)]),
        # TIME_LOW alone may step back
        ((0x8001, 0x600B, 0x0007, 0x2005, 0x6001, 0x2005), [(5, 7, 4107, 0), (5, 7, 4097, 0)]),
        # a row of the second camera (bit 11), triggers, others and what continues them
        ((0x8000, 0x6000, 0x0807, 0xA101, 0xE123, 0x7001, 0xF002, 0x2805), [(5, 7, 0, 1)]),
        # vectors go on where the last one ended; their polarity is the base's
        ((0x8000, 0x6000, 0x0003, 0x380A, 0x4801, 0x4001, 0x5081, 0x5FFF),
         [(x, 3, 0, 1) for x in (10, 21, 22, 34, 41, *range(42, 50))]),
        # a single event between leaves the base; an empty vector moves it
        ((0x8000, 0x6000, 0x0003, 0x300A, 0x2864, 0x4000, 0x4001), [(100, 3, 0, 1), (22, 3, 0, 0)]),
    ],
)  # fmt: skip
def test_evt3_words_change_what_follows(write, read, words, expected):
    assert read(write.evt_header(3) + write.words3(*words), ".raw")[0] == expected


def test_evt3_vectors_without_a_base_stay_off_the_sensor(write, read):
    words = [0x8000, 0x6000, 0x0003, *[0x4001] * 7000]
    assert [x for x, *_ in read(write.evt_header(3) + write.words3(*words), ".raw")[0] if 0 <= x < 2048] == [
        12 * number for number in range(171)
    ]
