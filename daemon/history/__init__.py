"""Asking the past: copies of the history for other processes (`copies`), views of it (`views`), SQL in the
asker's own process (`reading`), and what follows from it (`audit`, `replay`, `export`).

No question runs inside the daemon: DuckDB in the hands of a person can read any file, fill any memory and
spoil any database, and each guard of it can be got around.
"""
