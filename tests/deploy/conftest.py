"""Fixtures of the deployment tests."""

import pytest

from tests.deploy.helm_binary import Helm, NoHelm, find_helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """A real helm; fetched once for this machine."""
    try:
        return find_helm()
    except NoHelm as error:
        pytest.fail(str(error))
