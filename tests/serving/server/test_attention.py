"""For whom the event loop stays awake, and that it goes to sleep."""

import asyncio
import json
import os
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from world import WIDTH, ServingFolder, serving

from tasks.serving.server import attention as attention_module
from tasks.serving.server.attention import Attention

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": [1.0] * WIDTH}]})
AWAKE = 0.05  # longer than a busy machine keeps a process waiting
NEAR, FAR = AWAKE / 2, AWAKE * 2


@pytest.mark.parametrize(
    ("client", "after", "looks"), [("a", NEAR, True), ("a", FAR, False), ("b", NEAR, False), ("b", FAR, False)]
)
def test_only_a_client_that_asks_again_at_once_is_looked_out_for(
    monkeypatch: pytest.MonkeyPatch, client: str, after: float, looks: bool
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(attention_module, "AWAKE_SECONDS", AWAKE)
    monkeypatch.setattr(os, "sched_yield", lambda: looked.append(1))

    async def talk() -> None:
        attention = Attention()
        begin = time.monotonic()
        attention.came("a", begin)
        attention.answered("a")
        await asyncio.sleep(FAR)
        assert looked == []  # nothing is known of it yet
        attention.came(client, attention._answered + after)
        attention.answered(client)
        await asyncio.sleep(2 * FAR)
        assert bool(looked) is looks
        till_then = len(looked)
        await asyncio.sleep(2 * FAR)
        assert len(looked) == till_then

    asyncio.run(talk())


def test_a_server_whose_client_has_gone_silent_sleeps(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log") as server:
        connection = HTTPConnection(urlsplit(server.url).netloc)
        for _ in range(300):
            connection.request("POST", "/v2/models/tiny/infer", BODY)
            assert connection.getresponse().read()
        process = psutil.Process(server.process.pid)
        before = process.cpu_times()
        time.sleep(1)
        after = process.cpu_times()
        connection.close()
    assert after.user + after.system - before.user - before.system < 0.3
