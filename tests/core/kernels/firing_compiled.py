"""The Triton kernels compiled for GPUs, with none there: run by ``test_firing_cuda.py`` in a process of its own.

What launches them is called with tensors that have no memory, and each launch is stopped after it has compiled: what
the interpreter lets pass is found here, as types that do not fit. The process has a driver that only names a GPU.
"""

import re

import pytest
import torch

ODD, EVEN = (5, 7, 11), (5, 2**10, 512)
TYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
KINDS = [(False, False), (False, True), (True, False)]
"""Whether parametric, and whether the threshold is subtracted."""


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A function that compiles both kernels for a current, anew: ``{"_forward": ..., "_backward": ...}``."""
    import triton
    from triton.backends.compiler import GPUTarget

    from quietspike.core.kernels import firing_cuda

    class Absent:
        capability = 0

        def get_current_device(self):
            return self.capability

        def get_current_stream(self, device):
            return 0

        def get_current_target(self):
            return GPUTarget("cuda", self.capability, 32)

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    gpu = Absent()
    triton.runtime.driver.set_active(gpu)
    found = {}

    def only_compile(kernel):
        run = kernel.run
        monkeypatch.setattr(
            kernel, "run", lambda *a, warmup, **k: found.update({kernel.__name__: run(*a, warmup=True, **k)})
        )

    only_compile(firing_cuda._forward)
    only_compile(firing_cuda._backward)

    def compiled(shape, dtype=torch.float32, kind=(False, False), surrogate="atan", detached=False, capability=90):
        found.clear()
        gpu.capability = capability
        current = torch.empty(shape, dtype=dtype, device="meta")
        parametric, subtract = kind
        leak = torch.empty((), device="meta") if parametric else None
        constants = leak, 0.3, 0.4, 0.1, subtract, surrogate, 2.0, detached
        firing_cuda.fire(current, *constants)
        firing_cuda.fire_backward(current, current, *constants)
        for name in ("_forward", "_backward"):
            assert found[name].asm["cubin"]
        return found

    return compiled


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_each_kind_and_type(compiled, dtype, kind):
    for kernel in compiled(EVEN, dtype, kind).values():
        text = kernel.asm["ptx"]
        assert not re.search(r"\bfma", text)  # rounded once where the plain twin rounds twice
        assert re.search(r"ld\.global\.v\d\.b32", text)  # 16 or 8 bytes at once
        assert re.search(r"st\.global\.v\d\.b32", text)
        assert "convert_layout" not in kernel.asm["ttgir"]  # a thread reads the scratch that it wrote
    if dtype != torch.float32:
        assert re.search(rf"cvt\.rn(\.satfinite)?\.{TYPES[dtype]}", text)  # gradients are rounded to nearest


@pytest.mark.parametrize("surrogate", ["rectangular", "sigmoid", "fast_sigmoid"])
def test_each_surrogate(compiled, surrogate):
    compiled(ODD, surrogate=surrogate, detached=surrogate == "sigmoid")


@pytest.mark.parametrize("capability", [80, 100])
def test_each_generation(compiled, capability):
    for kernel in compiled(EVEN, torch.bfloat16, (True, False), capability=capability).values():
        assert f".target sm_{capability}" in kernel.asm["ptx"]


def test_one_step_of_one_neuron(compiled):
    for kind in KINDS:
        compiled((1, 1), kind=kind)  # a number that is 1 is a constant to the compiler


@pytest.mark.parametrize(("shape", "integer"), [((40, 3, 2**25), "i32"), ((2, 3, 2**30), "i64")])
def test_offsets_past_2_to_the_31(compiled, shape, integer):
    for kernel in compiled(shape, torch.bfloat16, (True, False)).values():
        text = kernel.asm["ttir"]
        assert kernel.src.signature["size"] == integer
        assert re.search(r"tt\.addptr .*tt\.ptr<bf16>>, tensor<\d+xi64>", text)
        assert not re.search(r"arith\.(addi|muli) .*: tensor<\d+xi32>", text)
        assert not re.search(r"arith\.muli (%size\S*, |%\S+, %size\S* ).*: i32", text)
