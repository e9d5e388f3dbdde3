"""Files that ship with rlhf (beside the package in a checkout, inside it in a wheel), its code, and its cache."""

import hashlib
import importlib.util
import os
import sysconfig
from functools import cache
from pathlib import Path

from rlhf.errors import ArtifactError

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = ("recipes", "data_samples")


def resource(relative: str) -> Path:
    """Absolute path of a shipped file or folder. Raises ArtifactError when this installation lacks it."""
    path = _root() / relative
    if not path.exists():
        raise ArtifactError(f"rlhf ships '{relative}', but it is not at {path}; install rlhf again")
    return path


def recipe_names() -> list[str]:
    """Names of the shipped recipes, without `.yaml`."""
    return sorted(path.stem for path in resource("recipes").glob("*.yaml"))


def is_shipped(path: Path) -> bool:
    """Whether a file is one of ours, and so no stranger's code. A link out of our folders is not ours."""
    return any(path.resolve().is_relative_to((_root() / folder).resolve()) for folder in _SHIPPED)


def is_installed(path: Path) -> bool:
    """Whether a file is part of an installation, ours or that of a library."""
    libraries = sysconfig.get_paths()
    folders = [_PACKAGE, *(Path(libraries[name]) for name in ("stdlib", "purelib", "platlib"))]
    return any(path.absolute().is_relative_to(folder) for folder in folders)


def cache_folder(what: str) -> Path:
    """Where that which can be computed again is kept between runs: under RLHF_CACHE, or ~/.cache/rlhf."""
    return Path(os.environ.get("RLHF_CACHE") or Path.home() / ".cache" / "rlhf") / what


@cache
def code_hash(package: str) -> str:
    """Of a package's sources."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, package
    total = hashlib.sha256()
    for source in sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")):
        total.update(source.read_bytes())
    return total.hexdigest()[:16]


def _root() -> Path:
    checkout = _PACKAGE.parent
    return checkout if (checkout / "pyproject.toml").is_file() else _PACKAGE / "bundled"
