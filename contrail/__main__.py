"""`python -m contrail`."""

from contrail.cli import main

main()
