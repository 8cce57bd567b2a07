"""Benchmarks: each prints its figure, the floor beside it, and the ratio: `make bench`."""
