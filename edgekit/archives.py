"""Zip archives, which checkpoints and arrays come in: one that would unpack to far too much is known before it is unpacked."""

import zipfile
from typing import IO, Optional, Union

# Weights and pictures become smaller by half, arrays of zeros a thousand times; these are looked into only when they are large.
MOST_TIMES, ALWAYS_FINE = 50, 256 << 20


def too_large(file: Union[str, IO[bytes]], packed: int) -> Optional[str]:
    """What is absurd about the archive ``file`` of ``packed`` bytes, by the sizes that it declares.

    None if nothing is, or if it is no readable archive, which whoever reads it will say better.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None
    if declared <= max(ALWAYS_FINE, MOST_TIMES * packed):
        return None
    return f"its {packed / 1e6:.1f} MB would unpack to {declared / 1e9:.1f} GB, which no such file does"
