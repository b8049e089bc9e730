"""The other side of the tests of IPMI: OpenIPMI's `ipmi_sim`, one for each node, asked by `ipmitool`.

    tests/backends/ipmi run DIR [--nodes N]

A node's power is the number in `DIR/NODE.power`, and what it starts from next the word in `DIR/NODE.boot`.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

USER, PASSWORD = "operator", "sesame"

LAN = """name "{node}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcd{number:02x}
  endlan
  chassis_control "{control} {node}"
  user 1 true  ""        "test" user     10  none md2 md5 straight
  user 2 true  "{user}" "{password}" operator 10  none md2 md5 straight
"""

EMULATION = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""

# What the chassis does: called as `control NODE get NAME...` or `control NODE set NAME VALUE...`.
CHASSIS = """#!/bin/sh
cd "{directory}" || exit 1
node=$1
act=$2
shift 2
while [ $# -gt 0 ]; do
  if [ "$act" = get ]; then
    case $1 in
      power) echo "power:$(cat "$node.power")" ;;
      boot) echo "boot:$(cat "$node.boot")" ;;
      *) exit 1 ;;
    esac
    shift
  else
    case $1 in
      power) [ -e "$node.lazy" ] && rm "$node.lazy" || echo "$2" >"$node.power" ;;
      boot) echo "$2" >"$node.boot" ;;
    esac
    shift 2
  fi
done
"""


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def simulate(directory, node, number):
    port = free_port()
    control = directory / "chassis"
    (directory / f"{node}.power").write_text("0\n")
    (directory / f"{node}.boot").write_text("default\n")
    words = {"node": node, "port": port, "number": number, "control": control, "user": USER, "password": PASSWORD}
    (directory / f"{node}.lan").write_text(LAN.format(**words))
    (directory / f"{node}.emu").write_text(EMULATION)
    command = ["ipmi_sim", "-n", "-c", f"{node}.lan", "-f", f"{node}.emu", "-s", str(directory / f"{node}.state")]
    with open(directory / f"{node}.log", "wb") as log:
        # It ends when its input does, so that has to be a pipe of ours.
        process = subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=log, stderr=log)
    return process, port


def answers(port):
    command = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", str(port), "-U", USER, "-E"]
    environment = {**os.environ, "IPMI_PASSWORD": PASSWORD}
    words = ["-L", "OPERATOR", "-N", "1", "-R", "1", "chassis", "status"]
    return subprocess.run([*command, *words], env=environment, capture_output=True, check=False).returncode == 0


def run(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args(arguments)
    directory = options.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    control = directory / "chassis"
    control.write_text(CHASSIS.format(directory=directory))
    control.chmod(0o755)
    nodes = [f"i{number}" for number in range(1, options.nodes + 1)]
    started = {node: simulate(directory, node, number) for number, node in enumerate(nodes, 1)}
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    try:
        end = time.monotonic() + 30
        while not all(answers(port) for _, port in started.values()):
            if time.monotonic() > end or stopped.is_set():
                print("ipmi_sim does not answer", file=sys.stderr)
                return 1
        credentials = directory / "credentials.toml"
        credentials.write_text(f'username = "{USER}"\npassword = "{PASSWORD}"\n')
        inventory = [f'[defaults]\nprotocol = "ipmi"\ncipher_suite = 3\ncredentials = "{credentials}"\n']
        for number, node in enumerate(nodes, 1):
            inventory.append(f'[nodes.{node}]\ncontroller = "127.0.0.1:{started[node][1]}"\n'
                             f'mac = "52:54:00:00:01:{number:02x}"\n')
        (directory / "inventory.toml").write_text("\n".join(inventory))
        ready = {
            "inventory": str(directory / "inventory.toml"),
            "credentials": str(credentials),
            "directory": str(directory),
            "nodes": nodes,
        }
        print(json.dumps(ready), flush=True)
        stopped.wait()
        return 0
    finally:
        for process, _ in started.values():
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
