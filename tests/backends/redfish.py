"""The other side of the tests of `redfish`: sushy-tools' emulator with its fake driver, behind one small proxy for each node.

    tests/backends/redfish run DIR [--nodes N] [--delay-max SECONDS] [--agent PROGRAM]

Each node has a controller of its own: a port that shows one system of the emulator, and misbehaves as it is told by
`POST /quirk` on the control port. With `--agent`, a node that is on and has a medium in it runs that program with the
configuration that lies beside the medium, as the system of a real node would.
"""

import argparse
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

USER, PASSWORD = "operator", "sesame"


class Quirks:
    """How each controller misbehaves."""

    def __init__(self):
        self.lock = threading.Lock()
        self.of = {}
        self.left = {}
        self.silent = set()
        self.busy = {}
        self.log = []

    def set(self, node, kind, times):
        with self.lock:
            self.silent.clear()
            if kind == "none":
                if node == "*":
                    self.of.clear()
                else:
                    self.of.pop(node, None)
            else:
                self.of[node] = kind
                self.left[node] = times

    def get(self, node):
        with self.lock:
            return self.of.get(node) or self.of.get("*")

    def take(self, node):
        """Whether a quirk that lasts for some requests is still on."""
        with self.lock:
            key = node if node in self.of else "*"
            if self.left.get(key, 0) <= 0:
                return False
            self.left[key] -= 1
            return True


class Proxy(http.server.BaseHTTPRequestHandler):
    """A controller: one system of the emulator."""

    protocol_version = "HTTP/1.1"
    node = quirks = upstream = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drop(self):
        self.close_connection = True
        self.connection.close()

    def handle_one(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        changes = self.command != "GET"
        quirks, node = self.quirks, self.node
        kind = quirks.get(node)
        with quirks.lock:
            quirks.busy[node] = quirks.busy.get(node, 0) + 1
            crowd = quirks.busy[node]
            if changes:
                quirks.log.append([node, self.command, self.path, body.decode(errors="replace")])
        try:
            if kind == "down" or node in quirks.silent:
                return self.drop()
            while quirks.get(node) == "hang":
                time.sleep(0.05)
            if kind == "hang":
                return self.drop()
            if kind == "throttle":
                return self.answer(429, b"slow down", [("Retry-After", "1")])
            if kind == "denied":
                return self.answer(403, b"{}")
            if kind == "rubbish":
                return self.answer(200, b"<html>" * 10)
            if kind == "sessions":
                time.sleep(0.1)
                if crowd > 1:
                    return self.answer(503, b'{"error": {"message": "too many sessions"}}')
            if kind == "slow":
                time.sleep(0.4)
            if kind == "lazy" and "Reset" in self.path and quirks.take(node):
                return self.answer(204)
            if kind == "dead" and "Reset" in self.path:
                return self.answer(204)
            if kind == "picky" and "Reset" in self.path and self.is_so(body):
                return self.answer(409, b'{"error": {"message": "it is so already"}}')
            self.forward(body)
            if kind == "lost" and changes:
                with quirks.lock:
                    quirks.silent.add(node)
                return self.drop()
            self.answer(*self.reply)
        finally:
            with quirks.lock:
                quirks.busy[node] -= 1

    do_GET = do_POST = do_PATCH = handle_one

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(*self.upstream, timeout=20)
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        read = response.status, response.read(), [("Content-Type", "application/json")]
        connection.close()
        return read

    def is_so(self, body):
        state = json.loads(self.ask("GET", f"/redfish/v1/Systems/{self.node}")[1]).get("PowerState")
        return {"On": "On", "ForceOff": "Off"}.get(json.loads(body).get("ResetType")) == state

    def forward(self, body):
        if self.path.rstrip("/") == "/redfish/v1/Systems":
            status, _, headers = self.ask("GET", self.path)
            member = {"Members": [{"@odata.id": f"/redfish/v1/Systems/{self.node}"}]}
            self.reply = status, json.dumps(member).encode(), headers
        else:
            self.reply = self.ask(self.command, self.path, body)
            if self.command == "GET" and self.path.rstrip("/") == f"/redfish/v1/Systems/{self.node}":
                self.reply = self.with_policy(*self.reply)

    def with_policy(self, status, body, headers):
        """The emulator knows of no power cuts."""
        if status != 200:
            return status, body, headers
        policy = "LastState" if self.quirks.get(self.node) == "resumes" else "AlwaysOff"
        return status, json.dumps({**json.loads(body), "PowerRestorePolicy": policy}).encode(), headers


class Control(http.server.BaseHTTPRequestHandler):
    """Where the tests say what is to happen, and where nodes find what they start from."""

    quirks = boot = emulator = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        wish = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/quirk":
            self.quirks.set(wish["node"], wish["quirk"], wish.get("times", 1))
        elif self.path == "/power":
            system = self.emulator._get(wish["node"])
            self.emulator._update(system, power_state=wish["state"], pending_power=None)
        self.answer(204)

    def do_GET(self):
        if self.path == "/log":
            with self.quirks.lock:
                return self.answer(200, json.dumps(self.quirks.log).encode())
        path = urllib.parse.urlparse(self.path).path.lstrip("/")
        file = (self.boot / path).resolve()
        if file.suffix == ".iso":
            return self.answer(200, b"an image")
        if not file.is_relative_to(self.boot) or not file.is_file():
            return self.answer(404)
        self.answer(200, file.read_bytes())


class Machine(threading.Thread):
    """What a node does while it is on: its system installs the agent's configuration, and runs the agent."""

    def __init__(self, app, number, node, directory, program, stopped):
        super().__init__(daemon=True)
        self.app, self.number, self.node = app, number, node
        self.directory = directory / "nodes" / node
        self.program, self.stopped = program, stopped
        self.process = None

    def run(self):
        while not self.stopped.wait(0.1):
            on = self.app.systems.get_power_state(self.node) == "On"
            if on and self.process is None:
                self.start_system()
            elif not on and self.process is not None:
                self.kill()
        self.kill()

    def start_system(self):
        try:
            image = self.app.vmedia.get_device_image_info(self.node, "Cd").image_url
            if image:
                self.install(image)
        except Exception as error:
            print(f"{self.node}: {error}", file=sys.stderr)
        config = self.directory / "agent.toml"
        if not config.exists():
            return
        # A session of its own, so that whatever the agent starts ends with the node's power.
        with open(self.directory / "log", "ab") as log:
            command = [self.program, "agent", "--config", str(config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        (self.directory / "pid").write_text(str(self.process.pid))

    def install(self, image):
        installed = self.directory / "image"
        if installed.exists() and installed.read_text() == image:
            return
        config = urllib.request.urlopen(image.rsplit("/", 1)[0] + "/agent.toml", timeout=5).read().decode()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        place = "\n".join([
            f'data_dir = "{self.directory}/state"',
            f'api_socket = "{self.directory}/api.sock"',
            f'bind = "{address(self.number)}:6881"',
        ])
        (self.directory / "agent.toml").write_text(place + "\n" + config)
        installed.write_text(image)

    def kill(self):
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Whoever asked did not wait for the answer."""


def serve(handler, **attributes):
    kind = type(handler.__name__, (handler,), attributes)
    server = Server(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def emulator(directory, nodes, delay_max):
    """Starts the emulator; its fake hardware takes up to so many whole seconds for a change of power."""
    import bcrypt
    import random
    from sushy_tools.emulator.resources.systems import fakedriver
    from werkzeug.serving import make_server

    class Delays:
        randint = staticmethod(lambda _least, _most: random.randint(0, delay_max))

    fakedriver.random = Delays
    secret = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
    (directory / "passwords").write_text(f"{USER}:{secret}\n")
    from sushy_tools.emulator import main

    main.app.configure(extra_config={
        "SUSHY_EMULATOR_AUTH_FILE": str(directory / "passwords"),
        "SUSHY_EMULATOR_FAKE_DRIVER": True,
        "SUSHY_EMULATOR_STATE_DIR": str(directory),
        "SUSHY_EMULATOR_FAKE_SYSTEMS": [
            {"uuid": node, "name": node, "power_state": "Off", "external_notifier": False,
             "nics": [{"mac": mac(number), "ip": "127.0.0.1"}]}
            for number, node in enumerate(nodes, 1)
        ],
    })
    server = make_server("127.0.0.1", 0, main.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return main.app, ("127.0.0.1", server.server_port)


def address(number):
    """A loopback address of a node: those of other runs are others."""
    run = os.getpid()
    return f"127.{100 + run % 100}.{run // 100 % 250}.{number}"


def mac(number):
    return f"52:54:00:00:00:{number:02x}"


def run(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--delay-max", type=int, default=0)
    parser.add_argument("--agent")
    options = parser.parse_args(arguments)
    directory = options.directory.resolve()
    boot = directory / "boot"
    boot.mkdir(parents=True, exist_ok=True)
    import logging
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    nodes = [f"r{(number - 1) % 3 + 1}n{(number - 1) // 3 + 1}" for number in range(1, options.nodes + 1)]
    app, upstream = emulator(directory, nodes, options.delay_max)
    quirks, stopped = Quirks(), threading.Event()
    ports = {node: serve(Proxy, node=node, quirks=quirks, upstream=upstream) for node in nodes}
    control = serve(Control, quirks=quirks, boot=boot, emulator=app.systems)
    credentials = directory / "credentials.toml"
    credentials.write_text(f'username = "{USER}"\npassword = "{PASSWORD}"\n')
    inventory = [f'[defaults]\ncredentials = "{credentials}"\nboot = "media"\n']
    for number, node in enumerate(nodes, 1):
        inventory.append("\n".join([
            f"[nodes.{node}]",
            f'controller = "http://127.0.0.1:{ports[node]}"',
            f'labels = {{ rack = "{node[:2]}" }}',
            f'mac = "{mac(number)}"',
            f'address = "{address(number)}"\n',
        ]))
    (directory / "inventory.toml").write_text("\n".join(inventory))
    machines = []
    if options.agent:
        machines = [Machine(app, number, node, directory, options.agent, stopped) for number, node in enumerate(nodes, 1)]
        for machine in machines:
            machine.start()
    ready = {
        "inventory": str(directory / "inventory.toml"),
        "credentials": str(credentials),
        "boot_store": str(boot),
        "boot_url": f"http://127.0.0.1:{control}/{{key}}/boot.iso",
        "control": f"http://127.0.0.1:{control}",
        "address": address(254),
        "nodes": nodes,
        "directory": str(directory),
    }
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if not machines else stopped.set())
    print(json.dumps(ready), flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    stopped.wait()
    for machine in machines:
        machine.join(5)
    os._exit(0)


if __name__ == "__main__":
    run(sys.argv[1:])
