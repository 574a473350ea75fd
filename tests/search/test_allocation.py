import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from quietspike.search import allocation

FAULTS = """
import ctypes, resource, sys
from quietspike.search.allocation import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
size = 24 * 2**20

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

if sys.argv[1:]:
    keep_freed_memory()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has what is set")
def test_large_blocks_that_were_freed_are_used_again():
    def faults(*words):
        done = subprocess.run([sys.executable, "-c", FAULTS, *words], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < 100 < 10_000 < faults()


@pytest.mark.parametrize(("system", "library"), [("darwin", None), ("linux", SimpleNamespace())])
def test_elsewhere_it_does_nothing(monkeypatch, system, library):
    monkeypatch.setattr(allocation.sys, "platform", system)
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda name: library)
    allocation.keep_freed_memory()
