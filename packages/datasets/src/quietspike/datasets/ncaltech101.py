"""N-Caltech101: Caltech101's images, recorded by an event camera that moves in three saccades."""

from __future__ import annotations

from pathlib import Path

from quietspike.datasets.class_folders import NoRecordingsError
from quietspike.datasets.published import PublishedSet, find_in_classes
from quietspike.datasets.sources import Parts

_NAMES = """
accordion airplanes anchor ant BACKGROUND_Google barrel bass beaver binocular bonsai brain brontosaurus buddha
butterfly camera cannon car_side ceiling_fan cellphone chair chandelier cougar_body cougar_face crab crayfish
crocodile crocodile_head cup dalmatian dollar_bill dolphin dragonfly electric_guitar elephant emu euphonium ewer
Faces_easy ferry flamingo flamingo_head garfield gerenuk gramophone grand_piano hawksbill headphone hedgehog
helicopter ibis inline_skate joshua_tree kangaroo ketch lamp laptop Leopards llama lobster lotus mandolin mayfly
menorah metronome minaret Motorbikes nautilus octopus okapi pagoda panda pigeon pizza platypus pyramid revolver
rhino rooster saxophone schooner scissors scorpion sea_horse snoopy soccer_ball stapler starfish stegosaurus
stop_sign strawberry sunflower tick trilobite umbrella watch water_lilly wheelchair wild_cat windsor_chair wrench
yin_yang
"""
_CLASSES = tuple(_NAMES.split())
_DOWNLOADED = "NCALTECH101"
_PLACES = ("", "Caltech101", f"{_DOWNLOADED}/Caltech101")


def find_recordings(root: Path) -> Parts:
    """A folder for each class with ``.bin`` files, at the top, in ``Caltech101`` or where tonic puts that.

    Raises:
        NoRecordingsError: if there are none.
        DataError: for a folder of recordings that is none of the classes.
    """
    folder = next((root / place for place in _PLACES if (root / place / _CLASSES[0]).is_dir()), None)
    if folder is None:
        raise NoRecordingsError(f"ncaltech101: neither {root} nor {root / _PLACES[2]} holds a folder {_CLASSES[0]}")
    return {"all": find_in_classes(root, folder, _CLASSES, frozenset({".bin"}))}


NCaltech101 = PublishedSet(
    name="ncaltech101",
    classes=_CLASSES,
    sensor_size=(240, 180, 2),
    citation=(
        "Orchard, G., Jayawant, A., Cohen, G. K. and Thakor, N. (2015). Converting static image datasets to spiking "
        "neuromorphic datasets using saccades. Frontiers in Neuroscience 9:437. "
        "https://doi.org/10.3389/fnins.2015.00437"
    ),
    home="https://www.garrickorchard.com/datasets/n-caltech101",
    find=find_recordings,
    tonic=("NCALTECH101", ({},)),
    folder=_DOWNLOADED,
)
