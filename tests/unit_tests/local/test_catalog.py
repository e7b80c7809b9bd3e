from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import pytest

from langchain_moa.local import CATALOG, LocalModel, UnknownModelError
from langchain_moa.local.catalog import find

MODELS = list(CATALOG.values())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_model_is_pinned_by_version_and_hash_from_end_to_end(model: LocalModel) -> None:
    assert CATALOG[model.name] is model
    assert all(re.fullmatch(r"[0-9a-f]{64}", hash_) for hash_ in [model.sha256, *(wheel.sha256 for wheel in model.wheels)])
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", wheel.requirement) for wheel in model.wheels)
    names = [name for wheel in model.wheels for name in wheel.files.values()]
    assert model.file in names


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODELS[0].file = "other.gguf"  # type: ignore[misc]


def test_gemma_says_what_its_terms_prescribe() -> None:
    notice = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
    assert CATALOG["gemma3-270m"].notice == notice


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownModelError, match=r"unknown local model 'gpt-7'; choose one of: smollm2-135m, gemma3-270m"):
        find("gpt-7")


def test_the_package_is_light_until_the_chat_model_is_touched() -> None:
    code = (
        "import sys, langchain_moa.local\n"
        "heavy = {'xllamacpp', 'langchain_openai', 'openai'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "langchain_moa.local.ChatLocal\n"
        "assert heavy & set(sys.modules) == {'langchain_openai', 'openai'}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603  # our own code
