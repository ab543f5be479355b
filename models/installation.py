"""Which packages Python finds: those that were installed together, or others of the same names.

On package indexes the name `spectral` is that of another project, for hyperspectral images. This one is installed as
`spectral-recommenders`.
"""

from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path

from models.errors import ConfigError

DISTRIBUTION = "spectral-recommenders"
OTHER = "spectral"  # Spectral Python, for hyperspectral images
NOTE = (
    f"the project {OTHER!r} for hyperspectral images is installed in this environment too, and both have a package "
    f"spectral: pip uninstall {OTHER}, then install {DISTRIBUTION} again"
)


def installed_version() -> str:
    """Return the version of this project as it is installed.

    Raises PackageNotFoundError if it is not installed.
    """
    return version(DISTRIBUTION)


def other_is_installed() -> bool:
    """Return whether the other project with a package `spectral` is installed in this environment."""
    try:
        distribution(OTHER)
    except PackageNotFoundError:
        return False
    return True


def check_spectral() -> None:
    """Raise ConfigError if Python finds another package `spectral` than the one beside this package."""
    own = Path(__file__).parents[1] / "spectral" / "__init__.py"
    found = find_spec("spectral")
    if found is None:
        raise ConfigError(f"there is no package spectral in this environment; install it: pip install {DISTRIBUTION}")
    place = found.origin or next(iter(found.submodule_search_locations or ["another package"]))
    if Path(place).resolve() == own.resolve():
        return
    advice = (
        NOTE
        if other_is_installed()
        else "run the command in another folder, or as `spectral train`, and take that place off PYTHONPATH"
    )
    raise ConfigError(f"{place} stands in the place of the package spectral of {DISTRIBUTION}; {advice}")
