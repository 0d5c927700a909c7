"""Devices behind bad links: a network namespace each, and a router between them and the broker's machine.

    device ── tbf ──► router (drops at random) ──► this machine

`tc tbf` limits the rate in both directions; `iptables -m statistic` loses packets in the router, where TCP
does not learn of it; delay comes from `fleet.demo.tcp_proxy`, because not every kernel has netem.
"""

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

import pytest

TOOLS = ("ip", "tc", "iptables")
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not all(shutil.which(tool) for tool in TOOLS),
    reason=f"network namespaces need root, and {', '.join(TOOLS)}",
)


class Network:
    """Namespaces for `devices` devices; leaving the context removes all of them.

    Args:
        devices: how many; at most 250.
        rate: of each device's link in each direction, as `tc` spells it.
        loss: the part of all packets that the router drops, in each direction.
    """

    def __init__(self, devices: int, rate: str, loss: float) -> None:
        self._tag = f"f{os.getpid() % 100_000}"
        self._router = f"{self._tag}-r"
        self._devices = [f"{self._tag}-{number}" for number in range(devices)]
        self._rate, self._loss = rate, loss
        self._net = f"10.{100 + os.getpid() % 100}"
        self.host = f"{self._net}.255.1"
        """This machine's address, as the devices see it."""

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def prefix(self, number: int) -> list[str]:
        """What stands before a command that is to run behind the link of a device."""
        return ["ip", "netns", "exec", self._devices[number]]

    def part(self) -> None:
        """Lose every packet."""
        self._in_router("iptables -I FORWARD 1 -j DROP")

    def heal(self) -> None:
        """Lose no more than before."""
        self._in_router("iptables -D FORWARD 1")

    def _build(self) -> None:
        router, net = self._router, self._net
        _run(f"ip netns add {router}")
        _run(f"ip link add {self._tag} type veth peer name wan netns {router}")
        _run(f"ip addr add {self.host}/30 dev {self._tag}")
        _run(f"ip link set {self._tag} up")
        self._in_router(f"ip addr add {net}.255.2/30 dev wan")
        self._in_router("ip link set wan up")
        self._in_router("sysctl -qw net.ipv4.ip_forward=1")
        _run(f"ip route add {net}.0.0/16 via {net}.255.2")
        for number, name in enumerate(self._devices):
            _run(f"ip netns add {name}")
            _run(f"ip link add d{number} netns {router} type veth peer name wan netns {name}")
            self._in_router(f"ip addr add {net}.{number}.1/30 dev d{number}")
            self._in_router(f"ip link set d{number} up")
            self._in_router(f"tc qdisc add dev d{number} root tbf rate {self._rate} burst 16kb latency 500ms")
            inside = f"ip netns exec {name}"
            _run(f"{inside} ip addr add {net}.{number}.2/30 dev wan")
            _run(f"{inside} ip link set wan up")
            _run(f"{inside} ip link set lo up")
            _run(f"{inside} ip route add default via {net}.{number}.1")
            _run(f"{inside} tc qdisc add dev wan root tbf rate {self._rate} burst 16kb latency 500ms")
        if self._loss:
            rule = f"-m statistic --mode random --probability {self._loss} -j DROP"
            self._in_router(f"iptables -A FORWARD {rule}")

    def _in_router(self, command: str) -> None:
        _run(f"ip netns exec {self._router} {command}")

    def _remove(self) -> None:
        for name in [self._tag, *self._devices, self._router]:
            kind = "link" if name == self._tag else "netns"
            subprocess.run(["ip", kind, "del", name], capture_output=True, check=False)


def _run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
