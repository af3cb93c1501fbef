"""Set-up of every test: few threads, a workspace of its own, array shapes checked at run time."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from tests import checked

CHECKED = [
    "dp3d_data.matching",
    "dp3d_data.geometry",
    "dp3d_data.loader.loader",
    "dp3d_data.shards.batch",
    "dp3d_data.shards.table",
    "dp3d_data.detection.training.losses",
    "dp3d_data.detection.training.metrics",
    "dp3d_model.geometry",
    "dp3d_model.bodies",
    "dp3d_model.losses",
    "dp3d_model.networks",
    "dp3d_model.evaluation.evaluator",
    "dp3d_model.lifting.test_time",
]
_hook = install_import_hook(CHECKED, f"{checked.__name__}.typechecked")

slow_machine = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
# Elsewhere every run tries new examples; an unchanged commit must not fail by chance where it is accepted.
settings.register_profile("dp3d", deadline=None, suppress_health_check=slow_machine, derandomize="CI" in os.environ)
settings.load_profile("dp3d")


def pytest_configure(config: pytest.Config) -> None:
    """One torch thread per test process: several processes share the machine."""
    import torch

    torch.set_num_threads(1)


LONGEST = ("test_docs", "test_short_training", "test_pretend")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The modules that take minutes come first, so that the other processes do the rest meanwhile."""
    items.sort(key=lambda item: next((i for i, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))


@pytest.fixture(autouse=True)
def _own_workspace(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's workspace."""
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
