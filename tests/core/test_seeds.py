import hashlib

import hypothesis.strategies as st
from hypothesis import given

from quietspike.core.seeds import derive_seed

keys = st.tuples(st.integers(), st.sampled_from(["weights", "order", "dropout"]), st.integers(0, 10**4))


@given(keys, keys)
def test_each_purpose_of_each_run_has_a_seed_of_its_own(one, other):
    assert 0 <= derive_seed(*one) < 2**63
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


def test_it_is_the_beginning_of_a_hash():
    assert derive_seed(7, "order", 2) == int(hashlib.sha256(b"7 order 2").hexdigest()[:16], 16) // 2
