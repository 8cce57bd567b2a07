"""`python -m bench [NAME …]`: run the benchmarks of that name, or all, one after the other."""

import importlib
import os
import pkgutil
import sys

import bench


def main() -> None:
    """Each module in `bench/` with a `main` is a benchmark."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: see `daemon.gpu.child`
    there = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if not module.ispkg)
    for name in sys.argv[1:] or there:
        if name != "__main__":
            print(f"\n{name}", flush=True)
            importlib.import_module(f"bench.{name}").main()


main()
