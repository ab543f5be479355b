"""Pages in a real browser without a network: what goes wrong in it, and what an accessibility checker finds."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")


@contextmanager
def browser() -> Iterator[Any]:
    """Give a headless Chromium; the test is skipped if it, or Playwright, which drives it, is not installed."""
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def opened(chromium: Any, path: Path, width: int = 1280, scheme: str = "light", **options: Any) -> Iterator[Any]:
    """Give a page that is open and loaded. On leaving, fail if it had an error or asked for anything but files."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url[:100]}"))
    page.on("request", lambda r: faults.append(r.url) if r.url.split(":")[0] not in ("file", "data", "blob") else None)
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    yield page
    context.close()
    assert not faults, faults


def overflow(page: Any) -> int:
    """Return by how many pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def accessibility_faults(page: Any) -> list[str]:
    """Return the serious and critical findings of axe-core; the test is skipped if it is not installed."""
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="axe-core-python is not installed")
    found = axe.Axe().run(page)["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]
