"""`python -m zendaemon` is the same as `zendaemon`."""

from __future__ import annotations

from zendaemon.cli import main

if __name__ == "__main__":
    main()
