"""`python -m sfsync.simorg`: one simulated org as a process of its own.

Its first line of output is JSON with the address and the credentials; everything else goes to standard error.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import math
import os
import signal
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from sfsync.simorg.app import build_app, make_org
from sfsync.simorg.gate import URI_AND_HEADERS_MAX
from sfsync.simorg.generated_people import PEOPLE_MAX, generate
from sfsync.simorg.life import MIX, RATE_MAX, Life, Pace
from sfsync.simorg.org import Org
from sfsync.simorg.population import populate
from sfsync.simorg.tls import ensure_jwt_keys, ensure_tls, is_public_key, server_context

SHUTDOWN_S = 0.5


def main() -> NoReturn:
    """Serve one org until SIGTERM or SIGINT."""
    options = _arguments().parse_args()
    problem = _problem(options)
    if problem:
        _arguments().error(problem)
    with contextlib.ExitStack() as stack:
        if options.state_dir is None:
            options.state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simorg-")))
        _org = asyncio.run(_serve(options))
    sys.stdout.flush()
    sys.stderr.flush()
    # A long history would be taken apart object by object, for minutes, and for nobody.
    os._exit(0)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sfsync.simorg", description="A simulated Salesforce org."
    )
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 (default) takes a free one")
    parser.add_argument("--tls", action="store_true", help="serve HTTPS with a certificate of its own CA")
    parser.add_argument(
        "--population", type=int, default=0, metavar="N", help="begin with N people and N/4 companies"
    )
    parser.add_argument(
        "--generated-people",
        type=int,
        default=0,
        metavar="N",
        help="begin with N more people that are no objects but made when they are read: millions cost nothing",
    )
    parser.add_argument(
        "--generated-companies", type=int, metavar="M", help="and with M companies like that (default N/4)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of population and choices (default 1)")
    parser.add_argument(
        "--life", type=float, default=0.0, metavar="RATE", help="steps of background life per second"
    )
    parser.add_argument(
        "--state-dir", type=Path, help="where keys and certificates are kept (default: temporary)"
    )
    parser.add_argument(
        "--jwt-public-key",
        type=Path,
        metavar="PEM",
        help="verify JWT logins with this key (default: one of its own)",
    )
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    limits = (
        ("port", options.port, 65_535),
        ("population", options.population, math.inf),
        ("generated-people", options.generated_people, PEOPLE_MAX),
        ("generated-companies", options.generated_companies or 0, PEOPLE_MAX),
        ("life", options.life, RATE_MAX),
    )
    for name, value, most in limits:
        if value < 0 and most == math.inf:
            return f"--{name} must not be negative; got {value}"
        if not 0 <= value <= most:
            return f"--{name} must lie between 0 and {most:g}; got {value:g}"
    if options.jwt_public_key is not None and not is_public_key(options.jwt_public_key):
        return (
            f"--jwt-public-key must name a file with an RSA public key in PEM; got {options.jwt_public_key}"
        )
    return None


async def _serve(options: argparse.Namespace) -> Org:
    """Serve until a signal; return the org, which whoever gets it may keep until the process ends."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    org = make_org(options.seed)
    _populate(org, options)
    told, context = _materials(org, options)
    runner = web.AppRunner(
        build_app(org),
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        max_line_size=4 * URI_AND_HEADERS_MAX,
        max_field_size=4 * URI_AND_HEADERS_MAX,
    )
    await runner.setup()
    try:
        port = await _listen(runner, options.port, context)
        org.url = f"{'https' if context else 'http'}://localhost:{port}"
        if options.life:
            org.life = Life(org, Pace(options.life, options.seed, MIX))
            org.life.start()
        print(
            json.dumps({"url": org.url, "control_url": f"{org.url}/control", **told}),
            flush=True,
        )
        await stopped.wait()
    finally:
        await runner.cleanup()
    return org


def _populate(org: Org, options: argparse.Namespace) -> None:
    """Fill the org; its records stay for good, so the collector is told never to look at them again."""
    gc.disable()
    populate(org.world, options.population, options.seed)
    people, companies = options.generated_people, options.generated_companies
    companies = people // 4 if companies is None else companies
    if people or companies:
        generate(org.world, people, companies, options.seed)
    gc.enable()
    gc.freeze()


def _materials(org: Org, options: argparse.Namespace) -> tuple[dict[str, str], ssl.SSLContext | None]:
    """Make the keys and return what to tell of them and of the credentials."""
    credentials = org.credentials
    told = {
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "username": credentials.username,
        "password": credentials.password,
        "security_token": credentials.security_token,
        "refresh_token": org.sessions.issue_refresh_token(credentials.user_id),
        "org_id": org.world.org_id,
    }
    if options.jwt_public_key is not None:
        org.jwt_public_pem = options.jwt_public_key.read_text()
    else:
        keys = ensure_jwt_keys(options.state_dir)
        org.jwt_public_pem = keys.public_key_file.read_text()
        told["private_key_file"] = str(keys.private_key_file)
    if not options.tls:
        return told, None
    files = ensure_tls(options.state_dir)
    return {**told, "ca_file": str(files.ca_file)}, server_context(files)


async def _listen(runner: web.AppRunner, port: int, context: ssl.SSLContext | None) -> int:
    """Listen on 127.0.0.1, and on ::1 with the same port where there is one; return the port."""
    first = socket.socket(socket.AF_INET)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    first.bind(("127.0.0.1", port))
    chosen: int = first.getsockname()[1]
    await web.SockSite(runner, first, ssl_context=context).start()
    with contextlib.suppress(OSError):
        second = socket.socket(socket.AF_INET6)
        second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(("::1", chosen))
        await web.SockSite(runner, second, ssl_context=context).start()
    return chosen


if __name__ == "__main__":
    main()
