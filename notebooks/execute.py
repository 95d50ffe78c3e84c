"""Execute the notebooks: `python notebooks/execute.py [--check] [NAME …]`.

Without `--check` the outputs are stored in the files. A notebook that fails, takes longer than three minutes or grows
over 700 kB ends the program with an error.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

LARGEST = 700_000  # bytes
LONGEST = 180  # seconds
FOLDER = Path(__file__).parent


def execute(path: Path, *, store: bool) -> str | None:
    """Execute one notebook; returns what is wrong with it, `None` if nothing."""
    notebook = nbformat.read(path, as_version=4)
    begun = time.perf_counter()
    client = NotebookClient(
        notebook, timeout=2 * LONGEST, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        return str(error)
    seconds = time.perf_counter() - begun
    for cell in notebook.cells:
        # Times of execution change at every run and say nothing.
        cell.metadata.pop("execution", None)
    text = nbformat.writes(notebook)
    print(f"{path.name}: {seconds:.0f} s, {len(text.encode()) / 1e3:.0f} kB", flush=True)
    if len(text.encode()) > LARGEST:
        return f"{len(text.encode()) / 1e3:.0f} kB with its pictures; at most {LARGEST / 1e3:.0f} kB are allowed"
    if seconds > LONGEST:
        return f"took {seconds:.0f} s; at most {LONGEST} s are allowed"
    if store:
        path.write_text(text + "\n", encoding="utf-8")
    return None


def main() -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Execute the notebooks and store their outputs.")
    parser.add_argument("names", nargs="*", help="file names; all when none is given")
    parser.add_argument("--check", action="store_true", help="execute, but store nothing")
    options = parser.parse_args()
    paths = [FOLDER / name for name in options.names] or sorted(FOLDER.glob("*.ipynb"))
    faults = {path.name: fault for path in paths if (fault := execute(path, store=not options.check)) is not None}
    for name, fault in faults.items():
        print(f"{name}: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
