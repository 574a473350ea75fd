"""``python -m quietspike.datasets`` is ``quietspike data``, for those who have this package alone."""

import sys

from rich.console import Console

from quietspike.core import QuietspikeError
from quietspike.datasets.cli import run

if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:], Console()))
    except (QuietspikeError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"quietspike: {error}", highlight=False, markup=False, emoji=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
