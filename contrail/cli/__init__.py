"""The command line."""

from contrail.runs.interrupt import ending_at_once, own_process


def main() -> None:
    """The entry point. A signal while the commands are imported ends the process at once."""
    own_process()
    with ending_at_once("interrupted; nothing had begun"):
        from contrail.cli.app import main as run_command
    run_command()
