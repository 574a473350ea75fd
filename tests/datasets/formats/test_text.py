"""Text: what is a line of an event, and which line is none."""

import pytest

EVENTS = [(3, 4, 1_000_000, 1), (5, 6, 1_000_010, 0), (7, 8, 2_500_000, 1)]


def test_text_skips_remarks_and_empty_lines(read):
    assert read(b"# t x y p\n\n10 3 4 1 # first\r\n\t12  5 6 0", ".txt")[0] == [(3, 4, 10, 1), (5, 6, 12, 0)]


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        (b"", "empty: no event", None),
        (b"# t x y p\n", "empty: no event", None),
        (b"t,x,y,p\n", "empty: no event", None),
        (b"1 2 3 1\n1 2 3\n", "no lines of four numbers: line 2 is '1 2 3'", 8),
        (b"\xef\xbb\xbf1 2 3 1\n\n# 5\n1 2 3 1 5\n", "no lines of four numbers: line 4 is '1 2 3 1 5'", 16),
        (b"t x y p\r\n1 2 3 1\r\n1,,3,1\r\n", "no lines of four numbers: line 3 is '1,,3,1'", 18),
        (b"t x y p\n1 2 3 1\nt x y p\n", "no lines of four numbers: line 3 is 't x y p'", 16),
        (b"t x y 1\n1 2 3 1\n", "no lines of four numbers: line 1 is 't x y 1'", 0),
        (b"by hand, on Monday", "no lines of four numbers: line 1 is 'by hand, on Monday'", 0),
        (b"1 2 3 one\n", "no lines of four numbers: line 1 is '1 2 3 one'", 0),
        (b"1_000 2 3 1\n", "no lines of four numbers: line 1 is '1_000 2 3 1'", 0),
        (b"1 2 3\n" * 4, "no lines of four numbers: line 1 is '1 2 3'", 0),
        (b"\xff\xfe1\0 \0", "no lines of four numbers: line 1 is '\\\\xff\\\\xfe1\\x00 \\x00'", 0),
        (b"0.5 2 3 1\n", "events: t holds fractions of its unit; say unit_us, the microseconds of one; is colu", None),
        (b"1 2 3 1\n1 2.5 3 1\n", "events: x holds fractions, the first at event 2: 2.5; is columns=", None),
        (b"1 2 3 1\n1 2 nan 1\n", "events: y holds numbers that are not finite; is columns='txyp' right?", None),
        (b"99999999999999999999 2 3 1\n", "events: t from 1e+20 to 1e+20 does not fit into 64 bits", None),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_other_text_is_refused(refused, suffix, text, reason, offset):
    found, where = refused(text, suffix)
    assert found.startswith(reason)
    assert where == offset


@pytest.mark.parametrize(
    "text",
    [
        b"1000000,3,4,1\n1000010,5,6,0\n2500000,7,8,1\n",
        b"\xef\xbb\xbf1000000, 3, 4, 1\n1000010, 5, 6, 0\n2500000, 7, 8, 1",
        b"x,y,polarity,timestamp\r\n3,4,1,1000000\r\n5,6,0,1000010\r\n7,8,1,2500000\r\n",
        b"time column row sign\n1000000 3 4 1\n1000010 5 6 0\n2500000 7 8 1\n",
        b"1.000000e+06 3.0 4.0 1.0\n1.000010e+06 5.0 6.0 0.0\n2.500000e+06 7.0 8.0 1.0\n",
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_text_of_other_habits(read, suffix, text):
    assert read(text, suffix)[0] == EVENTS


def test_text_in_seconds(read):
    text = b"0.003811000 96 133 0\n0.003820001 96 133 1\n"
    assert read(text, ".txt", unit_us=1e6)[0] == [(96, 133, 3811, 0), (96, 133, 3820, 1)]
