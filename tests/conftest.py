"""What holds for every test: one thread, a cache of the session's own, and none of the user's settings."""

import os
import signal

import pytest

FOREIGN = ("MLFLOW_", "OPTUNA_", "RAY_")


def pytest_configure():
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ["OMP_NUM_THREADS"] = "1"  # several tests run at once; torch reads it when it is first imported
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what a test starts inherits that
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUIETSPIKE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
