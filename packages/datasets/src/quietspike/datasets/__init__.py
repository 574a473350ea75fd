"""Event recordings as frames for spiking neural networks: readers, framing, augmentation, and the data sets."""

from quietspike.datasets.augment import Augment
from quietspike.datasets.camera import Camera
from quietspike.datasets.cifar10_dvs import CIFAR10DVS
from quietspike.datasets.daily_action import DailyActionDVS
from quietspike.datasets.digits_dvs import DigitsDVS
from quietspike.datasets.dvs128_gait import DVS128GaitDay, DVS128GaitNight
from quietspike.datasets.dvs_gesture import DVSGesture
from quietspike.datasets.event_folder import event_folder
from quietspike.datasets.events import EVENT, as_events, make_events, slice_by_time, sort_by_time
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.formats.content import Recording
from quietspike.datasets.framed import FramedRecordings
from quietspike.datasets.frames import Framing, to_frames
from quietspike.datasets.gestures_dvs import GesturesDVS
from quietspike.datasets.har_dvs import HARDVS
from quietspike.datasets.images import ImageFolder
from quietspike.datasets.ncaltech101 import NCaltech101
from quietspike.datasets.nmnist import NMNIST
from quietspike.datasets.options import Options
from quietspike.datasets.poker_dvs import PokerDVS
from quietspike.datasets.published import PublishedSet
from quietspike.datasets.recordings import read_recording
from quietspike.datasets.splits import hold_out, stratified_sample

__all__ = [
    "CIFAR10DVS",
    "EVENT",
    "HARDVS",
    "NMNIST",
    "Augment",
    "Camera",
    "DVS128GaitDay",
    "DVS128GaitNight",
    "DVSGesture",
    "DailyActionDVS",
    "DigitsDVS",
    "FramedRecordings",
    "Framing",
    "GesturesDVS",
    "ImageFolder",
    "Layout",
    "NCaltech101",
    "Options",
    "PokerDVS",
    "PublishedSet",
    "Recording",
    "as_events",
    "event_folder",
    "hold_out",
    "make_events",
    "read_recording",
    "slice_by_time",
    "sort_by_time",
    "stratified_sample",
    "to_frames",
]
