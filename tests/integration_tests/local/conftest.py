from __future__ import annotations

from importlib.util import find_spec

import pytest

from langchain_moa.local import CATALOG, ChatLocal, is_present


def local(name: str, **settings: object) -> ChatLocal:
    if find_spec("xllamacpp") is None:
        pytest.skip('llama.cpp is not installed: pip install "langchain-moa[local]"')
    if not is_present(CATALOG[name]):
        pytest.skip(f"the model is not here: langchain-moa models pull {name}")
    return ChatLocal(model=name, **settings)  # type: ignore[arg-type]  # a test's own settings


@pytest.fixture
def smollm() -> ChatLocal:
    return local("smollm2-135m")


@pytest.fixture(params=list(CATALOG))
def any_model(request: pytest.FixtureRequest) -> ChatLocal:
    return local(request.param)
