"""What a project takes of the disk: its runs, its data, its database, and what is left."""

import os
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from plutao.project import list_runs
from plutao.serve.database import Database
from plutao.serve.tables import Base


def measure(root: Path, database: Database) -> dict[str, Any]:
    """Bytes of each part; a file that several runs share by links counts where it is met first."""
    met: set[tuple[int, int]] = set()
    runs = [(name, size_of(root / "runs" / name, met)) for name in list_runs(root)]
    parts = [(name, size_of(root / name, met)) for name in ("data", "jobs")]
    files = [root / f"plutao.db{end}" for end in ("", "-wal", "-shm")] if database.on_sqlite else []
    parts.append(("database", sum(file.stat().st_size for file in files if file.is_file())))
    disk = shutil.disk_usage(root)
    with database.reading() as db:
        tables = Base.metadata.sorted_tables
        rows = [(table.name, db.scalar(select(func.count()).select_from(table)) or 0) for table in tables]
    return {
        "runs": runs,
        "parts": parts,
        "total": sum(size for _, size in [*runs, *parts]),
        "free": disk.free,
        "disk": disk.total,
        "rows": sorted(rows, key=lambda row: -row[1]),
        "where": database.name,
    }


def size_of(folder: Path, met: set[tuple[int, int]]) -> int:
    """Bytes under a folder, of files not met before; links lead nowhere."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = (Path(place) / name).lstat()
            except OSError:  # it went while we looked
                continue
            if (found.st_dev, found.st_ino) not in met:
                met.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total
