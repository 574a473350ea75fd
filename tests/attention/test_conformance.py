"""Every attention that is registered keeps core's contract, by default and in its other forms."""

import pytest

from quietspike.core import ATTENTION
from quietspike.core.testing import check_attention

FORMS = [
    ("ta_snn", {"temporal_reduction": 2}),
    ("ta_snn", {"threshold": 0.5}),
    ("se", {"channel_reduction": 2, "per_step": False}),
    ("eca", {"kernel": 5, "per_step": False}),
    ("cbam", {"spatial": True, "kernel": 3}),
    ("cbam", {"spatial": True, "per_step": False}),
    ("simam", {"regularizer": 0.1, "per_step": False}),
    ("tcja", {"temporal_kernel": 3, "channel_kernel": 1}),
]


@pytest.mark.parametrize("name", ATTENTION.names())
def test_every_attention_keeps_the_contract(name):
    check_attention(ATTENTION.get(name))


@pytest.mark.parametrize(("name", "options"), FORMS, ids=str)
def test_so_do_its_other_forms(name, options):
    check_attention(ATTENTION.get(name), **options)
