"""Where the `safelight` command begins: Ctrl-C ends it without a word while it is still being read in."""

import signal
import sys


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is begun yet, so there is nothing to tidy
    from daemon.__main__ import cli
    from daemon.commands.terms import INTERRUPTED

    sys.unraisablehook = _interrupt_again
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            cli()
        finally:  # nothing is left to tidy but the interpreter itself, and it knows neither signal by then
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:  # between the command line's own handlers
        sys.exit(INTERRUPTED)
    except ImportError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):  # as compiled modules hand it on
            raise
        sys.exit(INTERRUPTED)


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """A Ctrl-C that met what can raise nothing (the callback of a weak reference: imports have many) would
    be told with its traceback and then forgotten. It comes a moment later once more.
    """
    if unraisable.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
    else:
        sys.__unraisablehook__(unraisable)
