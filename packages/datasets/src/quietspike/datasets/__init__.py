"""Event recordings as frames for spiking neural networks: readers, framing, a disk cache, and the data sets."""

from quietspike.datasets.cache import cached
from quietspike.datasets.camera import Camera
from quietspike.datasets.digits_dvs import DigitsDVS
from quietspike.datasets.events import EVENT, as_events, make_events, slice_by_time, sort_by_time
from quietspike.datasets.files import read_bin, read_list
from quietspike.datasets.frames import Framing, to_frames
from quietspike.datasets.loading import FrameArrays
from quietspike.datasets.nmnist import NMNIST
from quietspike.datasets.poker_dvs import PokerDVS
from quietspike.datasets.splits import hold_out, stratified_sample

__all__ = [
    "EVENT",
    "NMNIST",
    "Camera",
    "DigitsDVS",
    "FrameArrays",
    "Framing",
    "PokerDVS",
    "as_events",
    "cached",
    "hold_out",
    "make_events",
    "read_bin",
    "read_list",
    "slice_by_time",
    "sort_by_time",
    "stratified_sample",
    "to_frames",
]
