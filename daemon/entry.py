"""Where the `safelight` command begins: Ctrl-C ends it without a word while it is still being read in."""

import signal


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is begun yet, so there is nothing to tidy
    from daemon.__main__ import cli

    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli()
