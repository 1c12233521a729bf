"""Serve ZenML on a socket that the parent opened, and end with the parent, however that ends.

Runs inside the ZenML server's own virtual environment. Argument: the file descriptor of the bound socket. Standard
input is a pipe that only the parent holds open: when it closes, the parent is gone (also by kill -9, on every system,
whichever of its threads started us).
"""

import os
import signal
import socket
import sys
import threading

import uvicorn  # the one of the server

DRAIN_SECONDS = 3


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(
        "zenml.zen_server.zen_server_api:app", log_level="info", timeout_graceful_shutdown=DRAIN_SECONDS
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
