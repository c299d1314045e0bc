"""`python -m quire.cli`, for launchers that start modules."""

from quire.cli import main

main()
