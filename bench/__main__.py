"""`python -m bench [NAME …]`: run the benchmarks of that name, or all, one after the other."""

import importlib
import pkgutil
import sys

import bench
from daemon.gpu import child


def main() -> None:
    """Each module in `bench/` with a `main` is a benchmark."""
    child.spin_briefly()  # before torch is imported, as the device's process does
    there = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if not module.ispkg)
    for name in sys.argv[1:] or there:
        if name != "__main__":
            print(f"\n{name}", flush=True)
            importlib.import_module(f"bench.{name}").main()


main()
