"""What the loopback server's model `able` can do, as LangChain's standard suite asks for it."""

from __future__ import annotations


class Capable:
    """Base of a class that runs the suite against `able`, whatever stands between; put it before the suite in the bases."""

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
        # Of a mixture it is the aggregator's: a proposer is asked what it was made for.
        return "able-too"
