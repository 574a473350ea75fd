"""``.aedat``: versions 2.0 (jAER) and 3.1 (cAER) of iniVation's format; the first line tells which."""

from __future__ import annotations

from quietspike.datasets.formats import aedat2, aedat3, aedat4
from quietspike.datasets.formats.content import Content, Recording

_READERS = {"2.0": aedat2.read, "3.1": aedat3.read, "4.0": aedat4.read}


def read(content: Content) -> Recording:
    """Hand the file to its version's reader.

    Raises:
        DataError: if it is of no version that is read here, or damaged.
    """
    lines, _ = content.header(b"#")
    found = lines[0].removeprefix("#!AER-DAT") if lines else ""
    version = next((known for known in _READERS if found.startswith(known)), None)
    if version is None:
        known = ", ".join(_READERS)
        raise content.error(f"not AEDAT {known}: the first line is {(lines or [''])[0][:40]!r}", 0)
    return _READERS[version](content)
