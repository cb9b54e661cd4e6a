"""The distributions: the same bytes of the same files, with all that an installation needs."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

CLIENT = Path(__file__).parents[2]
BUILD = "from hatchling import build; build.build_sdist('dist'); build.build_wheel('dist')"


def built(umask, time):
    """The distributions of a copy of the client whose files are as old as told, as bytes, by name."""
    folder = Path(tempfile.mkdtemp(prefix="kadabra-package-"))
    try:
        for name in ["pyproject.toml", "README.md"]:
            shutil.copy(CLIENT / name, folder)
        for name in ["src", "docs"]:
            shutil.copytree(CLIENT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in folder.rglob("*"):
            os.utime(path, (time, time))
            path.chmod(path.stat().st_mode & ~umask)
        subprocess.run([sys.executable, "-c", BUILD], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        made = {path.name: path.read_bytes() for path in (folder / "dist").iterdir()}
        (wheel,) = (folder / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            return made, {name for name in files.namelist() if ".dist-info/" not in name}
    finally:
        shutil.rmtree(folder)


class Package(unittest.TestCase):
    def test_is_built_of_the_same_bytes_each_time_and_has_all(self):
        (first, names), (second, _) = built(0o022, 1_500_000_000), built(0o077, 1_700_000_000)
        self.assertEqual(sorted(first), sorted(second))
        self.assertEqual(len(first), 2)
        for name in first:
            self.assertEqual(first[name], second[name], name)
        source = CLIENT / "src"
        self.assertEqual(names, {str(p.relative_to(source)) for p in source.rglob("*") if p.suffix == ".py" or p.name == "py.typed"})


if __name__ == "__main__":
    unittest.main()
