"""Arrays of objects: what numpy saves is read, and no pickle does anything else."""

import builtins
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from quietspike.core import DataError
from quietspike.datasets.formats import pickled
from quietspike.datasets.formats.arrays import load
from quietspike.datasets.formats.content import Content

NUMBERS = st.one_of(
    nps.boolean_dtypes(), nps.integer_dtypes(endianness="?"), nps.unsigned_integer_dtypes(), nps.floating_dtypes()
)
ANY_ARRAYS = st.lists(nps.arrays(NUMBERS, nps.array_shapes(min_dims=0, max_dims=3, min_side=0)), min_size=1, max_size=4)
HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"


def objects(pickled, header=HEADER):
    """A .npy of objects with a pickle of one's own."""
    return Content("it.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + pickled)


def box(arrays):
    """As numpy users store recordings of different lengths."""
    boxed = np.empty(len(arrays), dtype=object)
    for place, array in enumerate(arrays):
        boxed[place] = array
    return boxed


def refusal(content):
    with pytest.raises(DataError) as raised:
        load(content)
    start = 10 + struct.unpack_from("<H", content.data, 8)[0]
    prefix, suffix = "it.npy: no array of arrays: ", f" at offset {start}"
    message = str(raised.value)
    assert message.startswith(prefix)
    assert message.endswith(suffix)
    assert len(message.splitlines()) == 1
    return message.removeprefix(prefix).removesuffix(suffix)


def assert_same(loaded, arrays):
    assert isinstance(loaded, list)
    assert [(array.dtype, array.shape) for array in loaded] == [(array.dtype, array.shape) for array in arrays]
    assert all(np.array_equal(ours, theirs, equal_nan=True) for ours, theirs in zip(loaded, arrays, strict=True))


@settings(deadline=None, max_examples=50)
@given(arrays=ANY_ARRAYS)
def test_what_numpy_saves_is_read(write, arrays):
    assert_same(load(Content("it.npy", write.npy(box(arrays), allow_pickle=True))), arrays)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_every_protocol_of_pickle_is_read(protocol):
    arrays = [np.arange(-5, 300, dtype=">i2"), np.arange(6.0).reshape(3, 2).T, np.zeros((0, 4))]
    assert_same(load(objects(pickle.dumps(box(arrays), protocol))), arrays)


def test_what_older_numpys_called_their_module_is_read():
    arrays = [np.arange(3)]
    saved = pickle.dumps(box(arrays), 2)
    assert b"numpy._core.multiarray\n" in saved
    assert_same(load(objects(saved.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"))), arrays)


def test_what_python_2_wrote_is_read():
    # As its cPickle wrote np.array([np.array([1, 200], 'u1')], object): bytes are strings there.
    header = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    inner = header + b"(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\xc8'\ntb"
    outer = (
        header + b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbI00\n(l" + inner + b"atb."
    )
    assert_same(load(objects(outer)), [np.array([1, 200], np.uint8)])


def test_one_array_in_several_places_is_read():
    array = np.arange(1000)
    assert_same(load(objects(pickle.dumps(box([array] * 5)))), [array] * 5)


# programs


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), "posix.system"),
        (builtins.eval, ("open('{}', 'w')",), "builtins.eval"),
        (builtins.exec, ("open('{}', 'w')",), "builtins.exec"),
        (np.save, ("{}", 1), "numpy.save"),
        (np.fromfile, ("{}",), "numpy.fromfile"),
        (np.load, ("{}",), "numpy.load"),
        (getattr, (np, "save"), "builtins.getattr"),
    ],
)
def test_a_call_is_refused_and_not_made(tmp_path, function, arguments, name, inside, protocol):
    trace = tmp_path / "trace"
    calls = Calls(function, *(str(value).format(trace) for value in arguments))
    reason = refusal(objects(pickle.dumps(box([np.ones(3), calls]) if inside else calls, protocol)))
    assert reason.endswith(f"{name} is not allowed") or "__builtin__" in reason
    assert not trace.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cquietspike.datasets.formats.pickled\n_Array\n.",  # its own classes
        b"cnumpy\nndarray\n(I2\ntR.",
        b"cnumpy\ndtype\n.",
        b"\x80\x02\x82\x01.",  # copyreg's extensions
        b"Pfile\n.",  # persistent objects
        b"\x80\x05\x97.",  # buffers that are not in the pickle
        b"(i__builtin__\nobject\n.",
    ],
)
def test_other_ways_to_name_something_are_refused(program):
    refusal(objects(program))


STATE = "(I1\n(I1\ntNI00\nS'x'\nt"


@pytest.mark.parametrize(
    "program",
    [
        # BUILD of what stands for a name: classes, a constant and a function
        "cnumpy\ndtype\n(I3\nS'<'\ntb.",
        f"cnumpy._core.multiarray\n_reconstruct\n{STATE}b.",
        "cnumpy\nndarray\n(dS'x'\nNsb.",
        "c_codecs\nencode\n}S'__defaults__'\nNsb.",
        "c_codecs\nencode\n(N}S'__code__'\nNstb.",
        "c_codecs\nencode\n(N}S'__globals__'\nNstb.",
        # of objects, with attributes that they have
        "cnumpy\ndtype\n(S'u1'\ntR}S'real'\nNsb.",
        "cnumpy\ndtype\n(S'u1'\ntR(N}S'__class__'\nNstb.",
        # NEWOBJ past __init__, and of a function
        "\x80\x02cnumpy._core.multiarray\n_reconstruct\n)\x81.",
        "\x80\x02cnumpy\ndtype\n)\x81.",
        "\x80\x02c_codecs\nencode\n)\x81.",
    ],
)
def test_nothing_is_tampered_with(write, program):
    before = {name: dict(vars(getattr(pickled, name))) for name in ("_Array", "_Dtype", "_Unpickler")}
    refusal(objects(program.encode("latin1")))
    assert {name: dict(vars(getattr(pickled, name))) for name in before} == before
    assert_same(load(Content("it.npy", write.npy(box([np.ones(3)]), allow_pickle=True))), [np.ones(3)])


@pytest.mark.parametrize(
    "item",
    [
        None,
        "text",
        {"x": 1},
        [1, 2],
        np.float64(1),
        np.array(["text"]),
        np.array([1j]),
        np.zeros(2, [("x", "i4")]),
        np.array([None]),
        np.array([1], "M8[us]"),
    ],
    ids=str,
)
def test_objects_that_are_no_arrays_of_numbers_are_refused(item):
    refusal(objects(pickle.dumps(box([np.ones(3), item]))))


@pytest.mark.parametrize(
    "boxed", [np.ones(3), box([np.ones(3)]).reshape(1, 1), [np.ones(3)]], ids=["numbers", "2d", "list"]
)
def test_what_is_no_list_of_arrays_is_refused(boxed):
    refusal(objects(pickle.dumps(boxed)))


# what would take all memory, or all time

TEXT = b"X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)
ARRAY = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"


def boxed(*items):
    return (
        ARRAY
        + b"(I1\n(I%d\nt" % len(items)
        + DTYPE % b"O8"
        + b"I00\n(l"
        + b"".join(b"%sa" % item for item in items)
        + b"tb."
    )


def bytes_from_memo(index=0):
    return ARRAY + b"(I1\n(I%d\nt" % (1 << 20) + DTYPE % b"u1" + b"I00\ng%d\ntb" % index


@pytest.mark.parametrize(
    "program",
    {
        "memo": b"]r\xff\xff\xff\x7f.",
        "memo 64": b"N" + b"p9999999999999\n.",
        "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        "small bytearray": b"\x80\x05\x96" + struct.pack("<Q", 3 << 30) + b".",
        "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
        "text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".",
        "shape": ARRAY + b"(I1\n(I9999999999\nt" + DTYPE % b"u1" + b"I00\nS'x'\ntb.",
        "one text, many arrays": TEXT + b"p0\n0" + boxed(*[bytes_from_memo()] * 4000),
        "one text, encoded often": TEXT + b"p0\n0" + b"c_codecs\nencode\n(g0\nS'latin1'\ntR" * 4000 + b".",
        "a dtype of tuples of tuples": b"N" + b"p0\n0(g0\ng0\nt" * 40 + b"p0\n0cnumpy\ndtype\n(g0\ntR.",
        "a key of tuples of tuples": b"N" + b"2\x86" * 40 + b"p0\n0}g0\nNs.",
        "a set of tuples of tuples": b"\x80\x04N" + b"2\x86" * 40 + b"p0\n0\x8f(g0\n\x90.",
        "a frozen set of tuples of tuples": b"\x80\x04(N" + b"2\x86" * 40 + b"\x91.",
        "a deep nest": b"N" + b"\x85" * (1 << 17) + b".",
        "a long number": b"\x8b" + struct.pack("<I", 1 << 30) + b".",
    }.items(),
    ids=lambda item: item[0],
)
def test_a_small_pickle_takes_no_memory_and_no_time(little_memory, program):
    with little_memory():
        refusal(objects(program[1]))
