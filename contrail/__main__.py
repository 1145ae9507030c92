"""`python -m contrail`."""

from contrail.cli.app import main

main()
