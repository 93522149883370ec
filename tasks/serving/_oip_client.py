"""A client of the Open Inference Protocol that asks a server under trial: once, and every error is the trial's."""

import http.client

from tasks.serving import oip_wire
from tasks.serving.oip_wire import Array


class Client:
    """One kept connection to a server, for one model."""

    def __init__(self, netloc: str, model: str, timeout_s: float) -> None:
        """Nothing is sent yet.

        Args:
            netloc: `127.0.0.1:8080`.
            model: name of the model.
            timeout_s: of one answer.
        """
        self._connection = http.client.HTTPConnection(netloc, timeout=timeout_s)
        self._path = f"/v2/models/{model}/infer"

    def infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Ask once.

        Args:
            feeds: input -> (batch, ...).

        Returns:
            Output -> (batch, ...).

        Raises:
            OSError, HTTPException: the server does not answer.
            ValueError: it answers with an error, or not in the protocol.
        """
        body, headers = oip_wire.request(feeds)
        self._connection.request("POST", self._path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise ValueError(f"HTTP {response.status}: {content[:500].decode(errors='replace')}")
        return oip_wire.answer(content, response.headers.get(oip_wire.HEADER_LENGTH))[1]

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
