"""Whether a version that is locked has a weakness that advisories.toml knows of; asks no network.

python .ci/advisories.py  # status 1, and a line for each

Locked is what the files in git pin, constraint-dependencies of pyproject.toml and requirements.lock, and uv.lock where
uv has written it: that alone has packages of which extras in conflict need several versions.
"""

import datetime
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from packaging.specifiers import InvalidSpecifier, Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parent.parent
KNOWN = Path(__file__).with_name("advisories.toml")
_PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)
_ID = re.compile(r"CVE-\d{4}-\d{4,}|GHSA(-[23456789cfghjmpqrvwx]{4}){3}|PYSEC-\d{4}-\d+")


class Advisory(NamedTuple):
    """A weakness of some versions of a package; the versions are those of any of the ranges."""

    package: str
    id: str
    affected: tuple[tuple[Specifier, ...], ...]
    fixed: Version
    what: str

    def hits(self, version: Version) -> bool:
        """Whether a version has it."""
        return any(all(_holds(each, version) for each in specifiers) for specifiers in self.affected)


def _holds(specifier: Specifier, version: Version) -> bool:
    # PEP 440 leaves pre-releases of 2 out of <2, as nobody wants them installed; here they come before the mend.
    if specifier.operator == "<":
        return version < Version(specifier.version)
    if specifier.operator == ">":
        return version > Version(specifier.version)
    return specifier.contains(version, prereleases=True)


def advisory(entry: Any) -> Advisory:
    """An entry of the file.

    Raises:
      ValueError: it can't be read.
    """
    fields = Advisory._fields
    if not isinstance(entry, dict) or entry.keys() != set(fields):
        raise ValueError(f"has not exactly the fields {', '.join(fields)}")
    words = {name: value for name, value in entry.items() if name != "affected"}
    if not all(isinstance(value, str) and value.strip() for value in words.values()):
        raise ValueError(f"must have words in {', '.join(words)}")
    if not _ID.fullmatch(entry["id"]):
        raise ValueError(f"has the id {entry['id']}, which is none of CVE-, GHSA- or PYSEC-")
    ranges = entry["affected"]
    if not isinstance(ranges, list) or not ranges or not all(isinstance(each, str) and each for each in ranges):
        raise ValueError("must have a list of version ranges in affected")
    try:
        affected = tuple(tuple(Specifier(part) for part in each.split(",")) for each in ranges)
        read = Advisory(entry["package"], entry["id"], affected, Version(entry["fixed"]), entry["what"])
        mended = not read.hits(read.fixed)
    except (InvalidSpecifier, InvalidVersion) as error:
        raise ValueError(f"has a version that is none ({error})") from error
    if not mended:
        raise ValueError(f"says that {entry['fixed']} mends it and has it")
    return read


def read_advisories(text: str) -> tuple[list[Advisory], list[str]]:
    """The entries of the file, and what is wrong with it."""
    try:
        file = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [], [f"advisories.toml can't be read ({error})"]
    wrong, found = [], []
    if file.keys() != {"checked", "advisory"} or not isinstance(file["advisory"], list):
        return [], ["advisories.toml must hold checked and [[advisory]], and nothing else"]
    if not isinstance(file["checked"], datetime.date):
        wrong.append("advisories.toml: checked must be a date")
    for number, entry in enumerate(file["advisory"], 1):
        try:
            found.append(advisory(entry))
        except ValueError as error:
            known = entry if isinstance(entry, dict) else {}
            name = " of ".join(str(known[key]) for key in ("id", "package") if key in known)
            wrong.append(f"advisories.toml: entry {number} ({name or 'nameless'}) {error}")
    keys = [(canonicalize_name(each.package), each.id) for each in found]
    wrong += [f"advisories.toml: {id} of {package} is there twice" for package, id in sorted(set(_twice(keys)))]
    return found, wrong


def _twice(keys: list[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return (key for key in keys if keys.count(key) > 1)


def locked(project: str, requirements: str, lock: str = "") -> set[tuple[str, str]]:
    """(name, version) of all that is pinned.

    Args:
      project: text of pyproject.toml.
      requirements: of requirements.lock.
      lock: of uv.lock; empty: there is none.
    """
    pins = "\n".join([*tomllib.loads(project)["tool"]["uv"]["constraint-dependencies"], requirements])
    packages = tomllib.loads(lock).get("package", [])
    found = {*_PINNED.findall(pins), *((each["name"], each["version"]) for each in packages if "version" in each)}
    return {(canonicalize_name(name), version) for name, version in found}


def problems(advisories: Iterable[Advisory], pins: set[tuple[str, str]]) -> list[str]:
    """A sentence for each version that is hit, and for each advisory whose package nobody has locked."""
    said, names = [], {name for name, _ in pins}
    for known in advisories:
        package = canonicalize_name(known.package)
        if package not in names:
            said.append(f"advisories.toml: {known.id} is of {known.package}, which is in no lock; mend the name.")
        for name, version in sorted(pins):
            if name != package:
                continue
            try:
                is_hit = known.hits(Version(version))
            except InvalidVersion:
                said.append(f"{name}=={version}: no version; it can't be compared with {known.id}.")
                continue
            if is_hit:
                said.append(f"{name}=={version} has {known.id}: {known.what} Take {known.fixed} or later.")
    return said


def main() -> int:
    """Print what is wrong; 0 if nothing is."""
    advisories, said = read_advisories(KNOWN.read_text(encoding="utf-8"))
    texts = [ROOT / name for name in ("pyproject.toml", "requirements.lock", "uv.lock")]
    said += problems(advisories, locked(*(path.read_text(encoding="utf-8") for path in texts if path.exists())))
    for line in said:
        print(line, file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    raise SystemExit(main())
