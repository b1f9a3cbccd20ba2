"""Videos of image sequences: MP4 by FFmpeg, animated WebP and GIF by Pillow."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torch_utils.errors import UserError
from torch_utils.files import replacing

# H.264's constant rate factor: hardly any visible loss.
QUALITY = 18


def check_video_format(video_format: str, *, transparent: bool = False) -> None:
    """UserError where a format cannot be written here, or not with transparency."""
    if video_format != "mp4":
        return
    if transparent:
        raise UserError("MP4 videos have no transparency; write webp or gif, or choose a background")
    _ffmpeg()


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """Write frames [H, W, 3 or 4] uint8 as the format of the path's ending: .mp4, .webp or .gif; endless loops.

    RGBA frames have straight alpha; GIF makes it one bit. The same frames give the same bytes. MP4 repeats the last row
    or column of an odd size. UserError where FFmpeg fails or is missing.
    """
    with replacing(path) as temporary:
        if path.suffix == ".mp4":
            _write_mp4(temporary, path, frames, fps)
        else:
            _write_animation(temporary, path.suffix, frames, fps)


def _write_animation(path: Path, ending: str, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    settings = {"save_all": True, "append_images": images[1:], "duration": max(round(1000 / fps), 1), "loop": 0}
    if ending == ".webp":
        images[0].save(path, "WEBP", quality=90, method=4, **settings)
    else:
        images[0].save(path, "GIF", disposal=2, **settings)


def _write_mp4(path: Path, shown: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """shown: the path that messages name."""
    process: subprocess.Popen | None = None
    try:
        for frame in frames:
            height, width = frame.shape[:2]
            even = np.pad(frame[..., :3], ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if process is None:
                process = _start_ffmpeg(path, even.shape[1], even.shape[0], fps)
            assert process.stdin is not None
            process.stdin.write(np.ascontiguousarray(even).tobytes())
        if process is None:
            raise ValueError("write_video(): expected at least one frame, got none")
        _, message = process.communicate()
        if process.returncode:
            raise UserError(f"{shown}: FFmpeg failed ({_last_line(message)})")
    except BrokenPipeError:
        assert process is not None
        _, message = process.communicate()
        raise UserError(f"{shown}: FFmpeg failed ({_last_line(message)})") from None
    finally:
        if process is not None and process.poll() is None:
            process.kill()


def _start_ffmpeg(path: Path, width: int, height: int, fps: float) -> subprocess.Popen:
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
    # One thread and no version strings: the same frames give the same bytes.
    coder = ["-c:v", "libx264", "-crf", str(QUALITY), "-pix_fmt", "yuv420p", "-threads", "1"]
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart"]
    command = [_ffmpeg(), "-y", "-loglevel", "error", *source, "-an", *coder, *exact, "-f", "mp4", str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _ffmpeg() -> str:
    """The FFmpeg that imageio-ffmpeg brings, or that of the system."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError(
            "MP4 needs FFmpeg: pip install -c constraints.txt imageio-ffmpeg, or write webp or gif"
        ) from None


def _last_line(message: bytes) -> str:
    lines = message.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
