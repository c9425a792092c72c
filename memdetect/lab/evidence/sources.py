"""Where real pictures come from: packages of Debian, fetched by name and unpacked; none of them is kept in this tree.

A package belongs to one split, so that nothing chosen on the tuning split has met a picture of the test split's
packages. Licences are those of each package's debian/copyright, which is unpacked with the pictures.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memdetect.errors import Exit, MemdetectError

Split = Literal["tuning", "test"]
Kind = Literal["photograph", "art", "clip art", "stamp", "texture"]

SPLITS: tuple[Split, ...] = ("tuning", "test")


@dataclass(frozen=True, slots=True)
class Part:
    """Pictures of one kind: those whose path in the package holds `within`. tiles: whether large ones are also cut."""

    kind: Kind
    within: str = ""
    tiles: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A package: its split, its licence in short, and its parts, of which the first that fits a path holds it."""

    package: str
    split: Split
    licence: str
    parts: Sequence[Part]

    def part(self, path: str) -> Part | None:
        """The part that holds a picture, by its path in the package; None for one of no part."""
        return next((part for part in self.parts if part.within in path), None)


# Wallpapers are cut in tiles; the sheets of figures of a game are not, for those repeat themselves.
_ART, _PHOTO = Part("art", tiles=True), Part("photograph", tiles=True)
_CLIP = Part("clip art")
SOURCES: tuple[Source, ...] = (
    Source("lomiri-wallpapers-16.04", "tuning", "CC-BY-4.0, CC-BY-SA-3.0 and -4.0, CC0", (_PHOTO,)),
    Source("lomiri-wallpapers-20.04", "tuning", "CC-BY-4.0, CC-BY-SA-3.0 and -4.0, CC0", (_PHOTO,)),
    Source("stellarium-data", "tuning", "GPL-2+, CC-BY-3.0, free use", (Part("photograph", "/nebulae/"),)),
    Source("gnome-backgrounds", "tuning", "CC-BY-SA-3.0 and others", (_ART,)),
    Source("lxqt-themes", "tuning", "LGPL-2.1+, CC-BY-SA-3.0", (_ART,)),
    Source("sway-backgrounds", "tuning", "MIT", (_ART,)),
    Source("freeorion-data", "tuning", "GPL-2, CC-BY-SA-3.0", (Part("texture", "/planets/"), Part("art", "/art/"))),
    Source("openclipart-png", "tuning", "public domain", (_CLIP,)),
    Source("colobot-common-textures", "tuning", "GPL-3+", (Part("texture"),)),
    Source("mate-backgrounds", "test", "GPL-2+, CC-BY-SA-4.0", (Part("photograph", "/nature/", tiles=True), _ART)),
    Source("ukui-wallpapers", "test", "CC-BY-SA-3.0", (_PHOTO,)),
    Source("python3-skimage", "test", "BSD-3-Clause, public domain", (Part("photograph", "skimage/data/"),)),
    Source("plasma-workspace-wallpapers", "test", "CC-BY-SA, LGPL, GPL-2+", (_ART,)),
    Source("flare-game", "test", "CC-BY-SA-3.0+", (Part("art", "/portraits/"), Part("art", "/parallax/"))),
    Source(
        "wesnoth-1.16-data",
        "test",
        "GPL-2+, CC-BY-SA-4.0",
        (Part("texture", "/terrain/"), Part("art", "/portraits/"), Part("art", "/story/")),
    ),
    Source("hedgewars-data", "test", "GPL-2, GFDL-1.3", (Part("art", "/map.png"), Part("art", "/Missions/"))),
    Source(
        "tuxpaint-stamps-default",
        "test",
        "GPL-2, public domain",
        (Part("clip art", "cartoon"), Part("stamp", "/stamps/")),
    ),
    Source("mypaint-data-extras", "test", "CC0, public domain", (Part("texture", "/backgrounds/"),)),
)


def fetch(folder: Path, sources: Sequence[Source], say: Callable[[str], None]) -> None:
    """Download packages with apt-get into `folder`/deb; those there already are kept.

    Raises MemdetectError when apt-get is not there, or does not find a package.
    """
    debs = folder / "deb"
    debs.mkdir(parents=True, exist_ok=True)
    for source in sources:
        if not archives(debs, source):
            say(f"fetching {source.package}")
            _run(["apt-get", "download", source.package], debs, f"could not fetch {source.package}")


def archives(folder: Path, source: Source) -> list[Path]:
    """The downloaded versions of a package in a folder, the newest name last."""
    return sorted(folder.glob(f"{source.package}_*.deb"))


def unpack(debs: Path, folder: Path, source: Source) -> Path | None:
    """Unpack a package's archive into `folder`/PACKAGE, once; None where its archive is not there."""
    found, target = archives(debs, source), folder / source.package
    if target.is_dir() or not found:
        return target if target.is_dir() else None
    temporary = folder / f".{source.package}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _run(["dpkg-deb", "-x", str(found[-1].resolve()), str(temporary)], folder, f"could not unpack {found[-1].name}")
    temporary.rename(target)
    return target


def _run(command: Sequence[str], folder: Path, failure: str) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise MemdetectError(
            f"real pictures need the program {command[0]}, which is not on the PATH; use a Debian or Ubuntu system, or "
            "give --debs a folder of pictures' packages and have dpkg-deb"
        )
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MemdetectError(f"{failure}: {reason}; check the network and run apt-get update", Exit.ERROR)
