"""The capabilities of the loopback server's model `able`, for LangChain's standard suite."""

from __future__ import annotations


class Capable:
    """Base of a class that runs the suite against `able`, directly or through a mixture. List it before the suite."""

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        # In a mixture, this overrides the aggregator's model; proposers keep theirs.
        return "able-too"
