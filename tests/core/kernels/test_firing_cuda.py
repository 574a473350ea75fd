"""The kernels for GPUs, mostly where there is none: when they are chosen, whether they are right, and compile."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from quietspike.core import kernels
from quietspike.core.neurons import LIF, PLIF

HERE = Path(__file__).parent
HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed: it is there for Linux alone")


def in_a_process(*arguments, **variables):
    """Python with arguments, none of this process's settings of Triton and pytest, and these variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE.parents[2],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_triton
def test_they_agree_with_the_plain_twins_in_tritons_interpreter():
    path = str(HERE / "firing_in_triton.py")
    assert " passed" in in_a_process("-m", "pytest", "-q", "-p", "no:cacheprovider", path, TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_they_agree_with_the_plain_twins_on_a_gpu():
    path = str(HERE / "firing_in_triton.py")
    assert " passed" in in_a_process("-m", "pytest", "-q", "-p", "no:cacheprovider", path)


@needs_triton
def test_they_compile_for_gpus():
    path = str(HERE / "firing_compiled.py")
    assert " passed" in in_a_process("-m", "pytest", "-q", "-p", "no:cacheprovider", path)


def test_a_cpu_does_without_triton():
    code = (
        "import sys, torch; sys.modules['triton'] = None\n"  # an import of it fails
        "from quietspike.core.neurons import LIF; LIF()(torch.ones(3, 2, 4))\n"
        "print('quietspike.core.kernels.firing_cuda' in sys.modules)"
    )
    assert in_a_process("-c", code).split() == ["False"]


@pytest.fixture
def gpu(monkeypatch):
    """Tensors may say that they lie on a GPU that Triton knows; there is no memory behind them."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    kernels._runs_triton.cache_clear()
    with FakeTensorMode(), torch.no_grad():  # autograd would ask the GPU for its stream
        yield
    kernels._runs_triton.cache_clear()


def on_gpu(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="cuda")


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [LIF, PLIF])
def test_a_gpu_has_kernels_of_its_own(gpu, kind, dtype, monkeypatch):
    called = []
    monkeypatch.setattr(
        "quietspike.core.neurons.fire_all",
        lambda current, *_, **__: called.append(current) or torch.zeros_like(current),
    )
    current = on_gpu(4, 2, 3, dtype=dtype)
    with torch.device("cuda"):
        kind()(current)
    assert called == [current]


@needs_triton
def test_spikes_lie_where_the_currents_do(gpu):
    current = on_gpu(4, 2, 3, dtype=torch.bfloat16)
    spikes = LIF()(current)
    assert (spikes.shape, spikes.dtype, spikes.device) == (current.shape, current.dtype, current.device)


@pytest.mark.parametrize("name", ["quietspike::fire", "quietspike::fire_backward"])
@pytest.mark.parametrize("key", ["CPU", "CUDA"])
def test_both_operators_have_kernels_for_both(name, key):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(name, key)


def test_who_has_no_kernel_for_gpus_gets_none(gpu):
    assert not kernels.fused(on_gpu(4, 2, 3))


@needs_triton
def test_they_can_be_turned_off(gpu, monkeypatch):
    assert kernels.fused(on_gpu(4, 2), triton=True)
    with kernels.reference():
        assert not kernels.fused(on_gpu(4, 2), triton=True)
    monkeypatch.setenv(kernels.VARIABLE, "reference")
    assert not kernels.fused(on_gpu(4, 2), triton=True)


def test_float64_is_left_to_the_plain_twin(gpu):
    assert not kernels.fused(on_gpu(4, 2, dtype=torch.float64), triton=True)


def test_without_triton_it_is_the_plain_twin(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)  # an import of it fails
    assert not kernels.fused(on_gpu(4, 2), triton=True)


@needs_triton
def test_a_gpu_that_triton_does_not_know_has_the_plain_twin(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    assert not kernels.fused(on_gpu(4, 2), triton=True)
