"""Instances of the cloud in `aws` as machines: each has a network, processes and a disk of its own.

All of it is in one network namespace, in which a bridge is the cloud's network. A machine is what runs below one
`unshare`, so that ending that one ends all of it. Its image is this computer's own file system, read with other files in
`/etc` and `/var/lib`; it has a service `muster` that runs the agent once `systemctl enable` was called, and cloud-init that
runs the user data on the first boot.
"""
import ctypes
import os
import pathlib
import shlex
import subprocess
import threading
import time

NETWORK = 16
GATEWAY = "10.77.0.1"
PORT = 8000
METADATA = "169.254.169.254"
CLONE_NEWNET = 0x40000000

BOOT = """
set -eu
dir={dir}
mount --make-rprivate /
mount --bind "$dir/etc" /etc
mount --bind "$dir/lib" /var/lib
ip link set lo up
tries=0
until ip link show eth0 >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 500 ] || exit 1
  sleep 0.02
done
ip addr add {address}/{network} dev eth0
ip link set eth0 up
ip route add default dev eth0
export PATH="$dir/bin:$PATH"
if [ ! -e "$dir/booted" ]; then
  touch "$dir/booted"
  sh "$dir/user-data" || echo "the user data failed"
fi
while :; do
  if [ -e "$dir/enabled" ]; then
    {muster} agent --config /etc/muster.toml || echo "the agent ended: $?"
  fi
  sleep 0.3
done
"""

SYSTEMCTL = "#!/bin/sh\n[ \"$*\" = 'enable --now muster' ] && touch {dir}/enabled\n"

# What programs look for in /etc.
ETC = ("passwd", "group", "nsswitch.conf", "protocols", "services", "ssl", "ld.so.cache", "localtime", "alternatives")


def enter():
    """Gives this process a network of its own, with the cloud's bridge in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network namespace can't be made")
    for words in (
        "ip link set lo up",
        "ip link add cloud type bridge",
        f"ip addr add {GATEWAY}/{NETWORK} dev cloud",
        f"ip addr add {METADATA}/32 dev cloud",
        "ip link set cloud up",
    ):
        subprocess.run(words.split(), check=True)


class Machines:
    """Runs what the cloud says that runs, and nothing else."""

    def __init__(self, cloud, state, muster):
        self.cloud, self.state, self.muster = cloud, state, muster
        self.running, self.ended = {}, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(0.1):
            with self.cloud.lock:
                wanted = {one.id: one for one in self.cloud.instances() if one._state.name == "running"}
                again, self.cloud.rebooted = self.cloud.rebooted, set()
            for name in list(self.running):
                if name not in wanted or name in again:
                    self.end(name)
            for name, one in wanted.items():
                if name not in self.running:
                    self.begin(name, one)

    def begin(self, name, one):
        place = self.state / "instances" / name
        if not place.exists():
            for below in ("etc", "lib", "bin"):
                (place / below).mkdir(parents=True)
            for entry in ETC:
                if os.path.exists(f"/etc/{entry}"):
                    subprocess.run(["cp", "-aL", f"/etc/{entry}", place / "etc"], check=False, stderr=subprocess.DEVNULL)
            (place / "etc" / "hostname").write_text(name)
            (place / "user-data").write_text(one.user_data.decode() if one.user_data else "")
            (place / "bin" / "systemctl").write_text(SYSTEMCTL.format(dir=place))
            (place / "bin" / "systemctl").chmod(0o755)
            boot = BOOT.format(dir=place, address=one.private_ip, network=NETWORK, muster=shlex.quote(self.muster))
            (place / "boot").write_text(boot)
        with open(place / "console", "ab") as console:
            process = subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", place / "boot"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd=place, start_new_session=True,
            )
        self.running[name] = process
        (place / "pid").write_text(str(process.pid))
        card = "v" + name[-12:]
        # Its network shows a moment after it began.
        for _ in range(200):
            inner = self.inner(process.pid)
            if inner and os.readlink(f"/proc/{inner}/ns/net") != os.readlink("/proc/self/ns/net"):
                break
            time.sleep(0.01)
        subprocess.run(["ip", "link", "add", card, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid)], check=False)
        subprocess.run(["ip", "link", "set", card, "master", "cloud", "up"], check=False)

    @staticmethod
    def inner(pid):
        try:
            return pid if pathlib.Path(f"/proc/{pid}/ns/net").exists() else None
        except OSError:
            return None

    def end(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()
        subprocess.run(["ip", "link", "del", "v" + name[-12:]], check=False, stderr=subprocess.DEVNULL)

    def stop(self):
        self.ended.set()
        self.thread.join()
        for name in list(self.running):
            self.end(name)
