"""What to do where nltk's data is missing; shared by bridges whose games need word lists."""

from __future__ import annotations

from contrail import ContrailError


def missing_data(bridge: str, game: str, error: LookupError) -> ContrailError | None:
    """Return the error for a game that nltk refuses for want of data; None if it is another."""
    if "NLTK" not in str(error):
        return None
    what = str(error).split("'")[1] if "'" in str(error) else str(error).split()[2]
    return ContrailError(
        f"{bridge}: {game} needs nltk's data {what!r}. With a network: "
        f"python -m nltk.downloader {what}"
    )
