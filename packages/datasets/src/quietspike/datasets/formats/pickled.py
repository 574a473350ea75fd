"""Arrays out of a pickle that is not trusted.

A ``.npy`` of objects is a pickle, and a pickle is a program. Here it can name numpy's way to make an array and nothing
else, each name stands for a class of this file, and Python's unpickler, unlike C's, sets no memory aside that a file
merely announces; the exceptions are taken out. What it makes is checked before numpy sees it.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from quietspike.datasets.formats.content import Content, one_line


def load_arrays(content: Content, start: int) -> list[npt.NDArray[Any]]:
    """The arrays in a one-dimensional array of objects.

    Raises:
        DataError: if the pickle is damaged, names anything but arrays, or holds anything but arrays of numbers.
    """
    try:
        items = _objects(_Unpickler(io.BytesIO(content.data[start:]), encoding="latin1").load())
        arrays: dict[int, npt.NDArray[Any]] = {}
        left = len(content.data)
        for item in items:
            if id(item) not in arrays:
                arrays[id(item)] = _numbers(item)
                left -= arrays[id(item)].nbytes
                if left < 0:  # a pickle can name one text many times, and each array would be a copy of it
                    raise ValueError("its arrays are larger than the file")
        return [arrays[id(item)] for item in items]
    except Exception as error:  # a pickle is a program: it may fail in any way
        raise content.error(f"no array of arrays: {one_line(error)}", start) from None


class _Dtype:
    """What a pickle says of a dtype: ``i8``, and its byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def real(self) -> np.dtype[Any]:
        if not (isinstance(self.code, str) and isinstance(self.order, str)):
            raise ValueError("a dtype is named by no text")
        if self.code[:1] not in "biufO" or not self.code[1:].isdecimal() or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"dtype {self.code[:20]!r} is none of numbers")
        return np.dtype(self.code if self.code[0] == "O" else self.order + self.code)


class _Array:
    """What a pickle says of an array: shape, dtype, order, and its bytes, or a list of objects."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


def _refuse(_: object) -> None:
    # Keys and members are hashed, which tuples of tuples of tuples make last for ever; and a bytearray is as large as
    # the file announces.
    raise pickle.UnpicklingError("a dict, set or bytearray is not allowed")


_DICTS = (pickle.EMPTY_DICT, pickle.DICT, pickle.SETITEM, pickle.SETITEMS)
_SETS = (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)


class _Unpickler(pickle._Unpickler):
    """Python's own, without what arrays do not need; it knows a few names."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **pickle._Unpickler.dispatch,
        **{code[0]: _refuse for code in (*_DICTS, *_SETS, pickle.BYTEARRAY8)},
    }

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name.

        Raises:
            UnpicklingError: for any other name.
        """
        known = {
            ("numpy", "ndarray"): "numpy.ndarray",  # an argument only, so any constant will do
            ("numpy", "dtype"): _Dtype,
            ("numpy.core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
            ("_codecs", "encode"): lambda text, _="latin1": text,  # bytes as text, which become bytes in the end
            ("__builtin__", "bytes"): lambda: b"",  # of an empty array
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return known[module, name]


def _objects(array: Any) -> list[Any]:
    if not isinstance(array, _Array):
        raise ValueError(f"{type(array).__name__} is no array")
    _, shape, dtype, _, items = array.state
    if dtype.real() != np.dtype(object) or not isinstance(items, list) or tuple(shape) != (len(items),):
        raise ValueError("no one-dimensional array of objects")
    return items


def _numbers(array: Any) -> npt.NDArray[Any]:
    if not isinstance(array, _Array):
        raise ValueError(f"an object in it is {type(array).__name__}, no array")
    _, shape, dtype, is_fortran, data = array.state
    kind = dtype.real()
    if isinstance(data, str):  # Python 2's bytes, or what is to be encoded
        data = data.encode("latin1")
    if kind.hasobject or not isinstance(data, bytes):
        raise ValueError("an array in it is of objects")
    return np.frombuffer(data, kind).reshape(shape, order="F" if is_fortran else "C")
