"""Network namespaces as hosts: each one hangs on a port of one switch, and every port can be disturbed. Needs root."""

import os
import shutil
import subprocess


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def why_not():
    """Why there can be no hosts here, or nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "there is no `ip` (iproute2)"
    name = f"troupe-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "switch", "type", "bridge")
    except subprocess.CalledProcessError as failed:
        return f"no network namespaces here: {failed.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return None


class Hosts:
    """Use as a context manager. Hosts are numbered from 1; host n has the address 10.77.0.n."""

    def __init__(self, count):
        self.switch = f"troupe-{os.getpid()}-switch"
        self.names = {number: f"troupe-{os.getpid()}-{number}" for number in range(1, count + 1)}

    def __enter__(self):
        try:
            self.make(self.switch)
            ip("-n", self.switch, "link", "add", "switch", "type", "bridge", "forward_delay", "0")
            ip("-n", self.switch, "link", "set", "switch", "up")
            for number, name in self.names.items():
                self.make(name)
                self.plug_in(number, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self, name):
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")

    def plug_in(self, number, name):
        port = f"port{number}"
        ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", port, "netns", self.switch)
        ip("-n", self.switch, "link", "set", port, "master", "switch", "up")
        ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")

    def __exit__(self, *_):
        for name in [self.switch, *self.names.values()]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def address(self, number):
        return f"10.77.0.{number}"

    def prefix(self, number):
        """What a command of this host begins with."""
        return ["ip", "netns", "exec", self.names[number]]

    def link(self, number, state):
        """`state`: up or down. Both sides see it; the kernel may take a second to let packets through again."""
        ip("-n", self.switch, "link", "set", f"port{number}", state)

    def part(self, *numbers):
        """From now on what these send to each other vanishes on the way; nobody is told. Others reach them still."""
        for number in self.names:
            self.isolate(number, number in numbers)

    def isolate(self, number, on):
        ip("-n", self.switch, "link", "set", f"port{number}", "type", "bridge_slave", "isolated", "on" if on else "off")
