"""Where the `safelight` command begins: Ctrl-C ends it without a word while it is still being read in."""

import signal
import sys


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is begun yet, so there is nothing to tidy
    from daemon.__main__ import cli
    from daemon.commands.terms import INTERRUPTED

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli()
    except KeyboardInterrupt:  # between the command line's own handlers
        sys.exit(INTERRUPTED)
