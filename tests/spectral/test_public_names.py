"""The public names of the package, and that importing it loads nothing that takes long."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

import spectral


def test_importing_the_package_does_not_import_what_takes_long():
    slow = ("torch", "matplotlib", "torchmetrics", "pandas", "scipy")
    code = f"import sys, spectral; print([name for name in {slow} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_measuring_and_drawing_load_no_package_that_they_do_not_use():
    slow = ("torchmetrics", "transformers", "scipy.stats")  # seconds of every command and notebook
    code = (
        "import sys, spectral, spectral.plot, models.evaluation, models.results.comparison\n"
        "[getattr(spectral, name) for name in spectral.__all__ if not name.endswith('Metric')]\n"
        f"print([name for name in {slow} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_same_name_is_a_function_and_a_package_of_a_command():
    assert callable(spectral.singular_values) and callable(spectral.cosine_similarity) and callable(spectral.theorem1)
    package = importlib.import_module("spectral.singular_values")
    assert package.singular_values is spectral.singular_values
    assert importlib.import_module("spectral.theorem1").theorem1 is spectral.theorem1
    assert spectral.singular_values(np.eye(3)).effective_rank == pytest.approx(3)


def test_everything_public_is_there():
    for name in spectral.__all__:
        assert getattr(spectral, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = spectral.nothing
