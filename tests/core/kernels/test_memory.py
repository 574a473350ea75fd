import os
import platform
import subprocess
import sys

import pytest

from quietspike.core.kernels import memory

FAULTS = """
import ctypes, resource, sys
from quietspike.core.kernels.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
size = int(sys.argv[1]) * 2**20

def use():
    blocks = [libc.malloc(size) for _ in range(4)]
    for block in blocks:
        libc.memset(block, 1, size)
    for block in blocks:
        libc.free(block)

def faults():
    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[2:]:
    keep_freed_memory()
print(faults())
"""


def faults(*words, **variables):
    """Faults of pages while blocks are used a second time, in a process of their own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | variables
    command = [sys.executable, "-c", FAULTS, *words]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has what is set")
@pytest.mark.parametrize("mebibytes", ["24", "48"])
def test_large_blocks_that_were_freed_are_used_again(mebibytes):
    assert faults(mebibytes, "keep") < 100 < 10_000 < faults(mebibytes)
    assert faults(mebibytes, "keep", MALLOC_TRIM_THRESHOLD_="100000") > 10_000  # the user's own word counts


def test_elsewhere_it_does_nothing(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("asked for the C library"))
    memory._keep_freed_memory.__wrapped__()
