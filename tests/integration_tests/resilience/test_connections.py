"""The error of a failed connection says where and why it failed, and what to check."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_openai import ChatOpenAI

from langchain_moa import MoAError, create_moa
from langchain_moa.data.redaction import describe

if TYPE_CHECKING:
    from tests.loopback.fixtures import Chat


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_a_server_that_does_not_run_is_named(chat: Chat) -> None:
    port = closed_port()
    gone = ChatOpenAI(model="m", api_key="test", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)  # type: ignore[arg-type]
    graph = create_moa([chat("a"), gone], gone, num_layers=1).compile()
    question: Any = {"messages": [("user", "Hi")]}
    with pytest.raises(MoAError, match=f"at 127.0.0.1:{port}: it refused the connection; check that the server runs") as raised:
        await graph.ainvoke(question)
    [_, failed] = raised.value.references
    assert failed["error"] is not None
    assert f"127.0.0.1:{port}" in failed["error"]["message"]


CAUSES = {
    "DNS": (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "its name cannot be resolved"),
    "TLS": (ssl.SSLCertVerificationError(1, "self-signed certificate"), "TLS failed"),
    "files": (OSError(errno.EMFILE, "Too many open files"), "raise `ulimit -n`"),
    "reset": (ConnectionResetError(errno.ECONNRESET, "reset"), "it closed the connection"),
}


@pytest.mark.parametrize("kind", CAUSES)
def test_the_cause_is_told(kind: str) -> None:
    cause, said = CAUSES[kind]
    error = httpx.ConnectError(
        "All connection attempts failed", request=httpx.Request("GET", "https://me:secret-0123@host.example/v1")
    )
    error.__cause__ = cause
    message = describe(error)["message"]
    assert message.startswith("All connection attempts failed (at host.example:443: ")
    assert said in message
    assert "secret" not in message


def test_other_errors_are_left_as_they_are() -> None:
    assert describe(ValueError("wrong"))["message"] == "wrong"
    assert describe(ConnectionError("no network"))["message"] == "no network"
