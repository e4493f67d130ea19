#!/usr/bin/env python3
"""Fetches the services of services.lock and prepares them for a quick start.

Each component (java, kafka, registry, pg14 .. pg18) ends in a directory of its own under
target/services/<hash of the lock>/ and is done when <component>.ready stands beside it. Whatever is
interrupted leaves finished artefacts in place and is taken up from there by the next run. Needs
python3 with pip only.

    fetch.py                          kafka, registry, pg14, pg18
    fetch.py --only kafka,pg16        these (java comes along by itself)
    WALFERRY_SERVICES=DIR fetch.py    keep them under DIR instead of target/services
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.dont_write_bytecode = True
import prepare

HERE = Path(__file__).resolve().parent
LOCK = HERE / "services.lock"
PARALLEL = 8
SYSTEM_ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")
ATTEMPTS = 4
DEFAULT = ["kafka", "registry", "pg14", "pg18"]
NEEDS_JAVA = {"kafka", "registry"}


class Artefact:
    """One line of the lock."""

    def __init__(self, line):
        component, self.coordinate, self.sha256 = line.split()
        self.component, _, self.machine = component.partition("@")

    @property
    def file_name(self):
        parts = self.coordinate.split(":")
        extension = parts[2] if len(parts) == 5 else "jar"
        return f"{parts[1]}-{parts[-1]}.{extension}"

    def requirement(self):
        return f"{self.coordinate.removeprefix('pip:')} --hash=sha256:{self.sha256}"


def read_lock():
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    artefacts = [Artefact(line) for line in lines]
    return [a for a in artefacts if a.machine in ("", platform.machine())]


def cache_directory():
    base = os.environ.get("WALFERRY_SERVICES") or HERE.parent.parent / "target" / "services"
    return Path(base).resolve() / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]


class Progress:
    """One line rewritten in place on a terminal, a line every few seconds elsewhere."""

    INTERVAL = {True: 0.1, False: 3.0}

    def __init__(self, in_place):
        self.tty = in_place and sys.stderr.isatty()
        self.lock = threading.Lock()
        self.started = self.shown = time.monotonic()
        self.received = self.finished = self.expected = 0

    def say(self, text):
        with self.lock:
            if self.tty:
                sys.stderr.write("\r\033[K")
            print(f"services: {text}", file=sys.stderr, flush=True)

    def bytes(self, count):
        with self.lock:
            self.received += count
            self._show()

    def done(self):
        with self.lock:
            self.finished += 1
            self._show()

    def _show(self):
        now = time.monotonic()
        if now - self.shown < self.INTERVAL[self.tty]:
            return
        self.shown = now
        text = (
            f"services: {self.finished} of {self.expected} artefacts, "
            f"{self.received / 1e6:.1f} MB, {now - self.started:.0f} s"
        )
        sys.stderr.write(f"\r\033[K{text}" if self.tty else f"{text}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def exclusive(directory, progress):
    """Keeps two runs off one cache."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another fetch is at work in this cache: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def pip_install(requirements, target, no_deps_hashes):
    """Installs into `target` all at once or not at all."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    command += ["--disable-pip-version-check", "--root-user-action=ignore", "--target", str(partial)]
    listing = target.with_name(target.name + ".requirements")
    listing.write_text("\n".join(requirements) + "\n")
    command += ["--no-deps", "--require-hashes"] if no_deps_hashes else []
    result = subprocess.run(command + ["-r", str(listing)], capture_output=True, text=True)
    listing.unlink()
    if result.returncode != 0:
        what = " ".join(requirements).split(" --hash")[0]
        raise SystemExit(f"services: pip could not install {what}:\n{result.stderr.strip()}")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def require_pip():
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise SystemExit(
            "services: python3 has no pip; install it with\n"
            "    apt-get install -y --no-install-recommends python3-pip"
        )


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class Fetcher:
    """Brings single artefacts into artefacts/, verified."""

    def __init__(self, root, progress):
        self.store = root / "artefacts"
        self.store.mkdir(exist_ok=True)
        self.progress = progress
        sys.path.insert(0, str(root / "tool"))
        # The client of the artefact repository; installed just now, hence not at the top.
        from jgo.maven import MavenContext, PythonResolver

        self.context, self.resolver = MavenContext, PythonResolver

    def missing(self, artefacts):
        return [a for a in artefacts if not (self.store / a.file_name).exists()]

    def fetch_all(self, artefacts):
        missing = self.missing(artefacts)
        if not missing:
            return
        self.progress.expected = len(missing)
        self.progress.say(f"fetching {len(missing)} artefacts")
        with ThreadPoolExecutor(PARALLEL) as pool:
            # Large ones first, so that the last to finish is a small one.
            missing.sort(key=lambda a: a.component == "kafka")
            for future in as_completed([pool.submit(self.fetch, a) for a in missing]):
                try:
                    future.result()
                except SystemExit:
                    # One that cannot be had is enough: the others are not waited for.
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        self.progress.say(f"fetched {self.progress.received / 1e6:.1f} MB")

    def fetch(self, artefact):
        for attempt in range(1, ATTEMPTS + 1):
            # Never taken for finished: a fresh place for each attempt, moved only once verified.
            place = self.store / f".partial-{artefact.file_name}"
            shutil.rmtree(place, ignore_errors=True)
            try:
                path = self.download(artefact, place)
                found = sha256_of(path)
                if found != artefact.sha256:
                    raise RuntimeError(f"sha256 is {found}, the lock says {artefact.sha256}")
                path.rename(self.store / artefact.file_name)
                self.progress.done()
                return
            except Exception as error:
                reason = innermost(error)
                if attempt == ATTEMPTS:
                    raise SystemExit(f"services: {artefact.coordinate}: {reason}") from error
                self.progress.say(f"{artefact.coordinate}: attempt {attempt} failed ({reason}), again")
                time.sleep(attempt)
            finally:
                shutil.rmtree(place, ignore_errors=True)

    def download(self, artefact, place):
        group, name, *kind, version = artefact.coordinate.split(":")
        extension, classifier = kind or ("jar", "")

        @contextlib.contextmanager
        def count(_file, _total):
            yield self.progress.bytes

        context = self.context(
            resolver=self.resolver(progress_callback=count), repo_cache=place, timeout=120
        )
        return context.project(group, name).at_version(version).artifact(classifier, extension).resolve()


def innermost(error):
    """What went wrong at the bottom, without the layers of words around it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return error


def unpack(component, archives, root, progress):
    """Makes the component's directory from its artefacts."""
    target, partial = root / component, root / f"{component}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.mkdir()
    progress.say(f"unpacking {component}")
    for archive in archives:
        if component == "kafka":
            os.link(archive, partial / archive.name)
        elif component == "registry":
            untar(archive, partial)
        else:
            with zipfile.ZipFile(archive) as jar:
                inner = next(n for n in jar.namelist() if n.endswith(".txz"))
                untar(jar.extract(inner, partial), partial)
                (partial / inner).unlink()
    partial.rename(target)


def untar(archive, target):
    try:
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(target, filter="tar")
            else:
                tar.extractall(target)
    except tarfile.ReadError:
        # A python built without lzma.
        subprocess.run(["tar", "-xf", str(archive), "-C", str(target)], check=True)


def wanted_components(only):
    wanted = only.split(",") if only else list(DEFAULT)
    if not only and os.environ.get("WALFERRY_PG"):
        wanted.append("pg" + os.environ["WALFERRY_PG"])
    known = {a.component for a in read_lock()} - {"tool"}
    unknown = [w for w in wanted if w not in known]
    if unknown:
        raise SystemExit(f"services: no {', '.join(unknown)} in the lock; it has {', '.join(sorted(known))}")
    if NEEDS_JAVA & set(wanted):
        wanted.insert(0, "java")
    return list(dict.fromkeys(wanted))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", metavar="COMPONENTS", help="comma-separated: kafka,registry,pg14,...")
    parser.add_argument("--lines", action="store_true", help="progress as lines, beside another program's")
    parser.add_argument("--print-directory", action="store_true", help="say where the cache is, and stop")
    arguments = parser.parse_args()
    root = cache_directory()
    if arguments.print_directory:
        print(root)
        return
    wanted = wanted_components(arguments.only)
    if all((root / f"{w}.ready").exists() for w in wanted):
        return
    progress = Progress(in_place=not arguments.lines)
    with exclusive(root, progress):
        missing = [w for w in wanted if not (root / f"{w}.ready").exists()]
        bring(missing, root, progress)
    progress.say(f"ready after {time.monotonic() - progress.started:.1f} s: {', '.join(wanted)}")


def bring(missing, root, progress):
    require_pip()
    # The fetcher brings roots of its own, which lack what a company adds to the system's.
    if SYSTEM_ROOTS.exists():
        os.environ.setdefault("REQUESTS_CA_BUNDLE", str(SYSTEM_ROOTS))
    lock = read_lock()
    of = {c: [a for a in lock if a.component == c] for c in missing + ["tool"]}
    if "java" in missing and not (root / "java").exists():
        progress.say("fetching a Java runtime")
        pip_install([a.requirement() for a in of["java"]], root / "java", no_deps_hashes=True)
    fetched = [a for c in missing if c != "java" for a in of[c]]
    if fetched:
        if not (root / "tool").exists():
            tools = [a.coordinate.removeprefix("pip:") for a in of["tool"]]
            pip_install(tools, root / "tool", no_deps_hashes=False)
        fetcher = Fetcher(root, progress)
        fetcher.fetch_all(fetched)
    prepare.certificates(root)
    for component in missing:
        if component != "java" and not (root / component).exists():
            unpack(component, [fetcher.store / a.file_name for a in of[component]], root, progress)
        progress.say(f"preparing {component}")
        prepare.prepare(component, root)
        (root / f"{component}.ready").touch()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("\nservices: interrupted; the next run goes on from here")
