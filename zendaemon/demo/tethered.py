"""Run a Python module as `python -m` would, and end with the parent, however that ends.

Usage: PYTHON tethered.py MODULE [ARGUMENT ...], in a process group of its own, by the path of this file: any Python can
run it. Standard input is a pipe that only the parent holds open: when it closes, the parent is gone (also by kill -9),
and the whole group is killed. The module itself finds its standard input empty.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    lifeline = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_end_with_parent, args=[lifeline], daemon=True).start()
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - what the interpreter itself put there
    sys.path[:] = [folder for folder in sys.path if folder != here]  # our neighbour venv.py must not hide the real one
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
