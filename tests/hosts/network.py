"""Three hosts on one machine: network namespaces around a bridge, with an address and a loopback of their own each."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NETWORK = "10.77.{number}"


def why_not() -> str:
    """Why no namespaces can be had here, empty if they can."""
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if shutil.which("ip") is None:
        return "`ip` (iproute2) is not installed"
    probe = f"slipway-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "del", probe], check=False)
    return "" if made.returncode == 0 else f"no network namespace can be made here: {made.stderr.strip()}"


@dataclass(frozen=True)
class Host:
    """One namespace."""

    name: str
    address: str
    link: str

    def enter(self, words: list[str]) -> list[str]:
        """The command that runs a command there."""
        return ["ip", "netns", "exec", self.name, *words]

    def cut_off(self) -> None:
        """Pull its cable."""
        _ip("-n", self.name, "link", "set", "eth0", "down")

    def reconnect(self) -> None:
        _ip("-n", self.name, "link", "set", "eth0", "up")


@contextmanager
def three_hosts() -> Iterator[tuple[Host, Host, Host]]:
    """`servers` with the bridge, and two more that reach it, and each other, through it."""
    number = os.getpid() % 200 + 20
    network = NETWORK.format(number=number)
    bridge = Host(f"slw{os.getpid()}s", f"{network}.1", "")
    others = [
        Host(f"slw{os.getpid()}{letter}", f"{network}.{last}", f"to{letter}") for letter, last in (("a", 2), ("b", 3))
    ]
    hosts = (bridge, *others)
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
        _ip("-n", bridge.name, "link", "add", "br0", "type", "bridge")
        _ip("-n", bridge.name, "addr", "add", f"{bridge.address}/24", "dev", "br0")
        _ip("-n", bridge.name, "link", "set", "br0", "up")
        for host in others:
            _ip("-n", bridge.name, "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("-n", bridge.name, "link", "set", host.link, "master", "br0", "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
        yield bridge, others[0], others[1]
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
