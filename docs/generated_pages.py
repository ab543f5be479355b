"""Pages of the site that are made of something else: commands, the API, and documents outside this folder."""

import os
import pkgutil
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from models.console import COMMANDS, PANELS, load

DOCS = Path(__file__).parent
ROOT = DOCS.parent
GENERATED = DOCS / "generated"
# Documents elsewhere in the repository, and their pages.
DOCUMENTS = {
    "README.md": DOCS / "index.md",
    "ARCHITECTURE.md": GENERATED / "architecture.md",
    "CHANGELOG.md": GENERATED / "changelog.md",
    "CONTRIBUTING.md": GENERATED / "contributing.md",
    "SECURITY.md": GENERATED / "security.md",
    "figures/README.md": GENERATED / "gallery.md",
    "figures/claims.md": GENERATED / "claims.md",
    "models/examples/README.md": GENERATED / "examples.md",
}
BAR = r"\|"  # in a table
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def write_pages() -> None:
    """Write all generated pages anew."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    for name, page in DOCUMENTS.items():
        if page.parent == GENERATED and (ROOT / name).exists():
            _write(page, relinked((ROOT / name).read_text(encoding="utf-8"), page, source=ROOT / name))
    for package in PANELS:
        _write(GENERATED / "commands" / f"{package}.md", commands_page(package))
        for module in rooms(package):
            _write(GENERATED / "api" / f"{module}.rst", api_page(module))
        _write(GENERATED / "api" / f"{package}.rst", package_page(package))


def _write(page: Path, text: str) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")


def relinked(text: str, page: Path, source: Path | None = None) -> str:
    """Return a Markdown text with its relative links as the site has them.

    text: As it stands in `source`, by default the page itself. A link to a document of the repository becomes one to
    its page, and to any other file one to download it. Links keep working in the repository itself.
    """
    source = source or page

    def target(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(source.parent / match[0]))
        if not path.exists() or not path.is_relative_to(ROOT):
            return match[0]
        found = DOCUMENTS.get(str(path.relative_to(ROOT)), path)
        link = os.path.relpath(found, page.parent)
        is_page = found.is_relative_to(DOCS) and found.suffix == ".md"
        return link if is_page or found.suffix in (".png", ".svg") else f"path:{link}"

    return LINK.sub(target, text)


def modules(package: str) -> Iterator[str]:
    """Yield the names of a package's modules, itself first, without commands and private ones."""
    yield package
    for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not found.name.rpartition(".")[2].startswith("_"):
            yield found.name


def rooms(package: str) -> list[str]:
    """Return the modules right below a package; what is below them is on their pages."""
    return [name for name in modules(package) if name.count(".") == 1]


def api_page(module: str) -> str:
    """Return the page of a module and of all modules below it."""
    below = [name for name in modules(module.split(".")[0]) if name.startswith(f"{module}.")]
    return "\n".join(_automodule(name, "=" if name == module else "-") for name in [module, *below])


def package_page(package: str) -> str:
    """Return the page of a package: its own docstring, its public names, its modules."""
    pages = "\n".join(f"   {name}" for name in rooms(package))
    names = "\n".join(f"* :py:obj:`{_home(package, name)}`" for name in import_module(package).__all__)
    return f"{_automodule(package, '=')}\nPublic names\n------------\n\n{names}\n\n.. toctree::\n\n{pages}\n"


def _automodule(name: str, underline: str) -> str:
    return f"{name}\n{underline * len(name)}\n\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n"


def _home(package: str, name: str) -> str:
    """Return the full name of a public name, in the module that defines it."""
    found = getattr(import_module(package), name)
    return f"{found.__module__}.{found.__qualname__}" if hasattr(found, "__qualname__") else found.__name__


def commands_page(package: str) -> str:
    """Return the page of a package's commands: what each does, its arguments and options, and its subcommands."""
    parts = [f"# Commands: {PANELS[package][0].lower()}{PANELS[package][1:]}\n"]
    for name, module in COMMANDS.items():
        if module.startswith(f"{package}."):
            command = load(name)
            parts += [f"## {name}\n", *_described(f"spectral {name}", command)]
            parts.append(f"Also `python -m {module.removesuffix('.__main__')}`.\n")
            for below, subcommand in getattr(command, "commands", {}).items():
                parts += [f"### {name} {below}\n", *_described(f"spectral {name} {below}", subcommand)]
    return "\n".join(parts)


def _described(call: str, command: Any) -> Iterator[str]:
    context = command.make_context(call, [], resilient_parsing=True)
    yield f"```text\n{' '.join([call, *command.collect_usage_pieces(context)])}\n```\n"
    yield f"{_text(command.help or '')}\n"
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [f"| `{names.replace('|', BAR)}` | {_text(said)} |" for names, said in filter(None, records)]
    if rows:
        yield "| | |\n|---|---|"
        yield "\n".join(rows) + "\n"


def _text(text: str) -> str:
    """Return a text for people as one line of Markdown in which nothing but its words means anything."""
    return re.sub(r"([*_<>|\[\]$])", r"\\\1", " ".join(text.split()))
