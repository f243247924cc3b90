"""What the monitor answers: the page, the JSON, the metrics and the two checks."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from workers.monitor_metric_table import Moment
from workers.monitor_metrics import exposition

PAGE = Path(__file__).with_name("monitor_page.html")
# A page of another site must not reach us under a name of its own that leads to this machine.
_HOSTS = ["localhost", "127.0.0.1", "[::1]", "*.localhost"]
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_headers(page: str) -> dict[str, str]:
    """The headers of the page: its own style and script may be used, and nothing else."""
    return _HEADERS | {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src {_hashes(page, 'style')}; script-src {_hashes(page, 'script')}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    }


def _hashes(page: str, element: str) -> str:
    contents = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
    digests = (hashlib.sha256(content.encode()).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def make_app(moment: Callable[[], Awaitable[Moment]]) -> Starlette:
    """The application; ``moment`` gives what there is to know now."""
    page = PAGE.read_text()
    headers = page_headers(page)

    async def show_page(_request: Request) -> Response:
        return Response(page, media_type="text/html", headers=headers)

    async def show_status(_request: Request) -> Response:
        content = msgspec.json.encode((await moment()).overview)
        return Response(content, media_type="application/json", headers=_HEADERS)

    async def show_metrics(request: Request) -> Response:
        text, content_type = exposition(await moment(), request.headers.get("accept", ""))
        return Response(text, headers=_HEADERS | {"Content-Type": content_type})

    async def is_healthy(_request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_HEADERS)

    async def is_ready(_request: Request) -> Response:
        overview = (await moment()).overview
        text = "ready" if overview.ready else "\n".join(["not ready", *overview.not_ready])
        return PlainTextResponse(f"{text}\n", 200 if overview.ready else 503, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/api/status", show_status),
            Route("/metrics", show_metrics),
            Route("/healthz", is_healthy),
            Route("/readyz", is_ready),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)],
    )
