import io
from contextlib import redirect_stderr

import pytest

from quietspike.datasets.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """What is shown of so many steps of half a second."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")

    def shown(stream, steps, error=None):
        with redirect_stderr(stream), show_progress("reading", steps) as advance:
            for _ in range(steps):
                now[0] += 0.5
                advance()
            if error:
                raise error
        return stream.getvalue()

    return shown


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_done_soon_says_nothing(shown, stream):
    assert shown(stream(), 3) == ""


def test_without_a_terminal_it_is_one_line_however_long_it_takes(shown):
    assert shown(io.StringIO(), 30) == "reading (30 samples)\n"


def test_on_a_terminal_it_is_a_bar(shown):
    text = shown(Terminal(), 30)
    assert "reading" in text
    assert "30/30" in text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_an_error_goes_on_to_the_caller(shown, stream):
    with pytest.raises(ValueError, match="damaged"):
        shown(stream(), 10, ValueError("damaged"))
