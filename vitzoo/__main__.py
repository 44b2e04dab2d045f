"""`vitzoo` and `python -m vitzoo`: the command line, with an end that a shell understands however it comes."""

import errno
import os
import signal
import sys

INTERRUPTED, NOBODY_READS, TERMINATED = 130, 141, 143
"""128 and the number of the signal, as shells have it."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write fails with where there is no room; without the name of a file it was one to standard output."""


def main() -> None:
    """Run the command line; exit code 130 after Ctrl-C, 143 after SIGTERM and 141 where nobody reads on, all without a
    word. What is half written is removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        from vitzoo.cli import main as run

        try:
            run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _end(INTERRUPTED)
    except BrokenPipeError:
        _end(NOBODY_READS)
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        print(f"vitzoo: the output cannot be written: {error.strerror}", file=sys.stderr)
        _end(2)


def _end(code: int) -> None:
    """Leave without the interpreter's own attempt to write what is left."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
