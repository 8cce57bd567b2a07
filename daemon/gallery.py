"""The routes of pictures, by frame and step, never by path.

What a step looked like never changes: such an answer may be kept for ever, and has a strong ETag. It is
that step's picture or none.
"""

import hashlib
import sys
from pathlib import Path

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from daemon import strips
from daemon.answers import error, json, number, whole
from daemon.events.log import Log
from daemon.pictures import Recent, picture_type
from daemon.projections.frames import ENDED, Frame
from daemon.projections.state import State
from daemon.settings import Home
from daemon.strips import Kept

_FOREVER = "private, max-age=31536000, immutable"
_UNTIL_ASKED = "no-cache"

ANIMATION_SECONDS = 60
"""For which an animation may be worked at."""
_FORMATS = {"webp": "image/webp", "gif": "image/gif"}


class Gallery:
    """The routes."""

    def __init__(self, log: Log[State], home: Home, recent: Recent) -> None:
        """`recent` holds the previews of frames being made."""
        self._log = log
        self._home = home
        self._recent = recent
        self._animator = anyio.CapacityLimiter(1)

    def routes(self) -> list[Route]:
        """Where they are."""
        animations = [
            Route(f"/api/frames/{{frame}}/animation.{kind}", getattr(self, f"_{kind}")) for kind in _FORMATS
        ]
        return [
            Route("/frames/{frame}/preview", self._preview),
            Route("/frames/{frame}/final", self._final),
            Route("/frames/{frame}/thumbnail", self._thumbnail),
            Route("/api/frames/{frame}/strip", self._strip),
            *animations,
        ]

    async def _preview(self, request: Request) -> Response:
        """The picture of exactly `?step=`, or 410: never another step's."""
        frame, step = _frame_of(request), number(request, "step", 0)
        data = self._recent.get(frame, step) if self._ours(request) else None
        if data is None:
            data = await self._kept(request, frame, step)
        return error(410, "this step's picture is gone") if data is None else _picture(request, data)

    async def _final(self, request: Request) -> Response:
        frame = await self._known(_frame_of(request))
        if frame is None or frame.path is None:
            return error(404, "there is no such picture")
        return self._file(request, frame)

    async def _thumbnail(self, request: Request) -> Response:
        """A kept step; without `?step=`, the finished picture in small, or what there is of it."""
        number_ = _frame_of(request)
        step = number(request, "step", 0)
        if step:
            data = await self._kept(request, number_, step)
            return error(410, "this step was not kept") if data is None else _picture(request, data)
        frame = await self._known(number_)
        if frame is None:
            return error(404, f"there is no frame {number_}")
        data = await self._kept(request, number_, None)
        if data is not None:
            return _picture(request, data)
        if frame.path is not None:
            return self._file(request, frame)
        data = self._recent.get(number_, frame.step) or await self._kept(request, number_, frame.step)
        if data is None:
            return error(404, "there is no picture of it")
        return _picture(request, data, _FOREVER if frame.status in ENDED else _UNTIL_ASKED)

    async def _strip(self, request: Request) -> Response:
        """What was kept of a frame's development."""
        frame = await self._known(_frame_of(request))
        if frame is None:
            return error(404, f"there is no frame {_frame_of(request)}")
        kept = await self._index(frame.id) if self._ours(request) else []
        finals = [_told(frame.id, one) for one in kept if one.final]
        steps = [_told(frame.id, one) for one in kept if not one.final]
        return json({"frame": frame.id, "steps": steps, "final": finals[-1] if finals else None})

    async def _webp(self, request: Request) -> Response:
        return await self._animation(request, "webp")

    async def _gif(self, request: Request) -> Response:
        return await self._animation(request, "gif")

    async def _animation(self, request: Request, kind: str) -> Response:
        """Made by a process of its own, one at a time: this one has no Pillow, and other things to do."""
        frame = _frame_of(request)
        kept = await self._index(frame) if self._ours(request) else []
        if len(kept) < 2:
            return error(404, f"of frame {frame} fewer than two steps were kept")
        ms = max(20, min(1000, number(request, "ms", 80)))
        path = strips.path_of(self._home.strips, frame)
        command = [sys.executable, "-m", "daemon.gpu.animation", str(path), self._log.epoch, kind, str(ms)]
        async with self._animator:
            with anyio.move_on_after(ANIMATION_SECONDS):
                made = await anyio.run_process(command, check=False)
                if made.returncode == 0:
                    name = f'attachment; filename="frame-{frame}.{kind}"'
                    headers = {"content-disposition": name, "cache-control": _UNTIL_ASKED}
                    return Response(made.stdout, headers=headers, media_type=_FORMATS[kind])
                words = made.stderr.decode(errors="replace").strip().splitlines()
                return error(500, f"the animation could not be made: {words[-1] if words else 'no reason'}")
        return error(503, f"the animation took longer than {ANIMATION_SECONDS} seconds")

    def _ours(self, request: Request) -> bool:
        """Whether the address names no log, or this one."""
        return request.query_params.get("log", self._log.epoch) == self._log.epoch

    async def _known(self, frame: int) -> Frame | None:
        await self._log.recall([("frames", frame)])
        return self._log.state.frames.get(frame)

    async def _index(self, frame: int) -> list[Kept]:
        path = strips.path_of(self._home.strips, frame)
        return await to_thread.run_sync(strips.index, path, self._log.epoch)

    async def _kept(self, request: Request, frame: int, step: int | None) -> bytes | None:
        """The kept picture of a step; None for the finished picture."""
        if not self._ours(request):
            return None
        for one in await self._index(frame):
            if one.final if step is None else (one.step == step and not one.final):
                path = strips.path_of(self._home.strips, frame)
                return await to_thread.run_sync(strips.read, path, one)
        return None

    def _file(self, request: Request, frame: Frame) -> Response:
        assert frame.path is not None
        path = self._home.root / frame.path
        if not self._ours(request) or not path.is_file():
            return error(410, f"{frame.path} is gone")
        return _whole_file(request, path)


def _frame_of(request: Request) -> int:
    """The frame that the address names; 0, which none has, where that is no number."""
    return whole(request.path_params["frame"], 0)


def _picture(request: Request, data: bytes, keep: str = _FOREVER) -> Response:
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"cache-control": keep, "etag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=picture_type(data))


def _whole_file(request: Request, path: Path) -> Response:
    """Finished pictures are written once, under a name that does not come again."""
    stat = path.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    headers = {"cache-control": _FOREVER, "etag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type="image/png", stat_result=stat)


def _told(frame: int, kept: Kept) -> dict[str, object]:
    step = "" if kept.final else f"?step={kept.step}"
    return {
        "step": kept.step,
        "sigma": kept.sigma,
        "width": kept.width,
        "height": kept.height,
        "bytes": kept.size,
        "url": f"/frames/{frame}/thumbnail{step}",
    }
