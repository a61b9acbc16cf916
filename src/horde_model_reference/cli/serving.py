"""`serve` and `demo`: this machine's store over HTTP, and the whole path on one machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from ssl import Purpose, create_default_context
from subprocess import DEVNULL, PIPE, run
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from typer import BadParameter, Option

import horde_model_reference as library
from horde_model_reference.cli.context import Session
from horde_model_reference.cli.output import say, tell
from horde_model_reference.cli.storing import import_, log
from horde_model_reference.errors import SourceUnavailable

if TYPE_CHECKING:
    from uvicorn import Server

    from horde_model_reference.settings import ServiceSettings

__all__ = ["demo", "serve"]

_DEADLINE_SECONDS = 30
_KEPT_SECONDS = 75  # longer than replicas keep a connection between two polls, so that they end it and not we
_LOCAL = "127.0.0.1"
_ENDS = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


def serve(
    session: Session,
    host: Annotated[str | None, Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = None,
    port: Annotated[int | None, Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, Option(min=1, help="Processes that serve.")] = None,
    relay: Annotated[bool, Option("--relay", help="Serve what a replica reads, and never a store of its own.")] = False,
    proxies: Annotated[
        list[str] | None, Option("--proxy", help="A proxy whose X-Forwarded headers are believed; may be repeated.")
    ] = None,
    tls_certificate: Annotated[Path | None, Option(help="File with the certificate; serves HTTPS.")] = None,
    tls_key: Annotated[Path | None, Option(help="File with its key, where that is not in it.")] = None,
    access_log: Annotated[bool | None, Option(help="Log each request as a line of JSON.")] = None,
) -> None:
    """Serve the store under the data root as a PRIMARY, until Ctrl-C. The store is created on first use.

    With --relay, or REPLICATE_MODE=REPLICA in the environment, it serves what a replica reads from its PRIMARY. What is
    not given is what the settings HORDE_MODEL_REFERENCE_SERVICE__* say; without those it listens on 127.0.0.1:19800.
    """
    given: dict[str, object] = {
        "host": host,
        "port": port,
        "workers": workers,
        "proxies": proxies,
        "access_log": access_log,
    }
    given |= {"tls_certificate": tls_certificate, "tls_key": tls_key}
    settings = session.settings
    chosen = settings.service.model_copy(update={name: value for name, value in given.items() if value is not None})
    # Only where somebody said so: a REPLICA is what programs that read are by default, and a service is mostly none.
    is_replica = "replicate_mode" in settings.model_fields_set and settings.replicate_mode == "REPLICA"
    server = _server(session, chosen, "info", relay=relay or is_replica, own_process=True)
    with suppress(KeyboardInterrupt, SystemExit):  # uvicorn has logged why; its codes mean other things than ours
        if chosen.workers > 1:
            from uvicorn.supervisors import Multiprocess

            Multiprocess(server.config, sockets=[server.config.bind_socket()]).run()
            return
        server.run()
    if not server.started:
        raise OSError(f"{chosen.host}:{chosen.port} cannot be served")


def demo(
    session: Session,
    data: Annotated[Path | None, Option(help="Your own files instead of the starter catalogue.")] = None,
    port: Annotated[int, Option(min=0, max=65535, help="Port of the PRIMARY; 0 takes a free one.")] = 0,
) -> None:
    """Import a catalogue, serve it as a PRIMARY, and read it back through a REPLICA in another process.

    Works in a temporary folder that is removed at the end, or in --root, which stays. On a terminal it serves until
    Ctrl-C, otherwise it ends by itself. It needs no network, and never touches the database of the settings.
    """
    if data is not None:
        data.stat()  # else it would begin, and end in the middle
    with ExitStack() as cleanup:
        for number in _ENDS:  # each unwinds like Ctrl-C, so that the folder goes with us
            if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # as after `nohup`
                cleanup.callback(signal.signal, number, signal.signal(number, signal.default_int_handler))
        scratch = Path(cleanup.enter_context(TemporaryDirectory(prefix="hmr-demo-", ignore_cleanup_errors=True)))
        root = (session.root or scratch / "primary" / "horde_model_reference").absolute()
        database = session.database or f"sqlite:///{root}/reference.sqlite3"
        here = cleanup.enter_context(closing(Session(root, database)))
        say(f"1. Importing {data or 'the starter catalogue'}:")
        import_(here, data, starter=data is None, actor="demo", note="demo")
        url = cleanup.enter_context(_served(here, port))
        say(f"2. A PRIMARY serves it at {url} (process {os.getpid()})")
        replica = partial(_replica, url, scratch / "replica" / "horde_model_reference")
        say("3. A REPLICA in another process, with an empty disk, reads it over HTTP:")
        replica("list")
        say("4. It answers a query: nsfw=false, the largest first")
        replica("query", "image_generation", "nsfw=false", "--sort", "-size_on_disk_bytes,name", "--limit", "5")
        say("5. Every change is one revision; the newest:")
        log(here, limit=5)
        say(f"Open {url}/api/docs")
        say(f"  or {url}/api/model_references/v2/image_generation")
        say(f"or read it from the shell: hmr --root {root} list")
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            say("Not on a terminal, so the demo ends here; on one it serves until Ctrl-C.")
            return
        with suppress(KeyboardInterrupt):
            say("Press Ctrl-C to stop.")
            threading.Event().wait()
        say("Stopped.")


def _server(
    session: Session, chosen: ServiceSettings, log_level: str, *, relay: bool = False, own_process: bool = False
) -> Server:
    from uvicorn import Config, Server

    from horde_model_reference.service.application import create_app
    from horde_model_reference.service.protocol import BoundedProtocol
    from horde_model_reference.wiring import Mode

    _require_usable(chosen)
    settings = session.settings.model_copy(update={"service": chosen})
    mode = Mode(library.ReplicateMode.REPLICA if relay else library.ReplicateMode.PRIMARY, False, session.data_root)
    session.creates_store = session.takes_over = not relay
    if not relay and not session.store.head():
        tell("hmr: the store is empty; `hmr import --starter` fills it with the catalogue of the package")
    several = chosen.workers > 1
    parts = None if several or relay else session.parts  # each worker has parts of its own
    made = partial(create_app, parts, settings, mode, owns_process=own_process)
    app = made if several else made()
    config = Config(
        *(app, chosen.host, chosen.port),
        factory=several,
        workers=chosen.workers,
        http=BoundedProtocol,
        log_level=log_level,
        server_header=False,
        timeout_keep_alive=_KEPT_SECONDS,
        timeout_graceful_shutdown=_DEADLINE_SECONDS,
        access_log=False,
        proxy_headers=bool(chosen.proxies),
        forwarded_allow_ips=[*chosen.proxies],
        ssl_certfile=chosen.tls_certificate,
        ssl_keyfile=chosen.tls_key,
    )
    return Server(config)


def _require_usable(chosen: ServiceSettings) -> None:
    """Raises `OSError` where nobody could listen or serve HTTPS: what uvicorn and OpenSSL say of it helps nobody."""
    where, certificate, key = f"{chosen.host}:{chosen.port}", chosen.tls_certificate, chosen.tls_key
    if key is not None and certificate is None:
        raise BadParameter("--tls-key needs --tls-certificate, the certificate that it belongs to")
    try:
        family, *_ = socket.getaddrinfo(chosen.host, chosen.port, type=socket.SOCK_STREAM)[0]
        socket.create_server((chosen.host, chosen.port), family=family).close()
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # the rest is the address again
        raise OSError(f"{where} cannot be served: {why}; choose another --port or --host") from error
    try:
        if certificate is not None:
            create_default_context(Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:
        reason = f"{certificate} with {key or 'the key in it'} cannot be used: {error}"
        raise OSError(f"{reason}; --tls-certificate and --tls-key take PEM files") from error


@contextmanager
def _served(session: Session, port: int) -> Iterator[str]:
    """The address of the store over HTTP, served from a thread of this process as long as the block runs."""
    chosen = session.settings.service.model_copy(update={"host": _LOCAL, "port": port, "workers": 1})
    server = _server(session, chosen, "warning")
    app: Any = server.config.app
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while thread.is_alive() and not server.started:
        time.sleep(0.01)
    if not server.started:
        raise SourceUnavailable("the PRIMARY of the demo", "did not start; the lines above say why")
    try:
        yield f"http://{_LOCAL}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        app.state.serving.feed.bell.close()  # on a thread no signal tells it
        thread.join(_DEADLINE_SECONDS)


def _replica(url: str, root: Path, *words: str) -> None:
    """This program in a process of its own, with none of our settings but these, and no proxy in between."""
    prefix = "HORDE_MODEL_REFERENCE_"
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(prefix)}
    own = {f"{prefix}REPLICATE_MODE": "REPLICA", f"{prefix}PRIMARY_API_URL": f"{url}/api"}
    own |= {"NO_PROXY": _LOCAL, "no_proxy": _LOCAL}
    sys.stdout.flush()  # what it prints comes after what we did
    program = [sys.executable, "-m", "horde_model_reference", "--root", str(root), *words]
    done = run(program, env=kept | own, stdin=DEVNULL, stderr=PIPE, text=True, timeout=_DEADLINE_SECONDS, check=False)
    if done.returncode:
        raise SourceUnavailable("the replica", done.stderr.strip())
