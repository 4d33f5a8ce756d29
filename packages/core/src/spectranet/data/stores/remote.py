"""How are the bytes of a URL got? By fsspec, one attempt at a time; nothing here tries again.

Every function may raise ``OSError``, whatever the family of errors of the store's own client: absence
is ``FileNotFoundError``, an attempt that takes too long ``TimeoutError``, an answer of 401 or 403
``PermissionError``.

A file system is asked for at every use, since one that a parent process made hangs in its child: fsspec
makes another there. It then lets the parent's go, whose finaliser ends sockets in the event loop that it
believes to be its own, and which still is the parent's (Linux shares an epoll set across a fork): the
parent would hear of no answer any more. So what was made is held, and never ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from spectranet.errors import ConfigError, SpectraNetError, did_you_mean

__all__ = ["fetch", "file_system", "glob", "info", "listing", "lists_sizes", "put", "stamp"]

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
}
_STAMPS = ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "Last-Modified", "last_modified")
_STAMPS += ("mtime", "modified", "updated", "created")
_OURS = (TypeError, AttributeError, NameError, AssertionError)
"""What is a mistake in a program rather than a failure of a store."""

_held: dict[int, Any] = {}
"""Every file system of this process and of its parents; see above. A few: fsspec makes one a store."""


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it.

    Raises:
        ConfigError: fsspec has no such protocol, or its package is not installed.
    """
    with _as_os_errors("open"):
        fs, path = _made(url)
    _held[id(fs)] = fs
    return fs, path


def _made(url: str) -> tuple[Any, str]:
    import fsspec
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    protocol = url.partition("://")[0].rpartition("::")[2]
    try:
        return url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        how = f"python -m pip install {package}" if package else str(error)
        raise ConfigError(f"'{url}' needs a package that is not installed:  {how}") from error
    except ValueError as error:
        known = {*fsspec.available_protocols(), *known_implementations}
        if protocol in known:
            raise ConfigError(f"'{url}' is no address that fsspec can use: {error}") from error
        raise ConfigError(
            f"'{url}': fsspec knows no '{protocol}://'.{did_you_mean(protocol, known)}"
        ) from error


def fetch(url: str, span: tuple[int, int] | None, timeout_s: float) -> bytes:
    """Bytes ``span[0]`` to ``span[1]`` (exclusive), fewer where the object ends; or all of them."""
    start, end = span or (None, None)
    fs, path = file_system(url)
    return bytes(_call(fs, "cat_file", path, start=start, end=end, timeout_s=timeout_s))


def info(url: str, timeout_s: float) -> Mapping[str, Any]:
    """What the store says of an object: ``size``, and more under names of its own."""
    fs, path = file_system(url)
    with _as_os_errors("info"):
        fs.invalidate_cache(fs._parent(path))
    return dict(_call(fs, "info", path, timeout_s=timeout_s))


def put(url: str, content: bytes, timeout_s: float) -> None:
    """One object, at once: a store shows it whole or not at all."""
    fs, path = file_system(url)
    _call(fs, "pipe_file", path, content, timeout_s=timeout_s)


def listing(folder: str, timeout_s: float) -> list[Mapping[str, Any]]:
    """:func:`info` of everything in a folder; of HTTP servers only the names."""
    fs, path = file_system(folder)
    with _as_os_errors("ls"):  # that of Hugging Face's asks its server which revision a path is of
        fs.invalidate_cache(path)
    return list(_call(fs, "ls", path, detail=True, timeout_s=timeout_s))


def glob(pattern: str, timeout_s: float) -> dict[str, Mapping[str, Any]]:
    """By address, sorted, what :func:`listing` says of each match."""
    fs, path = file_system(pattern)
    found = _call(fs, "glob", path, detail=True, timeout_s=timeout_s)
    with _as_os_errors("glob"):
        return {fs.unstrip_protocol(name): found[name] for name in sorted(found)}


def lists_sizes(url: str) -> bool:
    """Whether a listing of a folder says the sizes: that of an HTTP server is a page of links."""
    return not url.startswith(("http://", "https://"))


def stamp(said: Mapping[str, Any]) -> str:
    """What changes when the object does; an empty string where the store says nothing of the kind."""
    name = next((name for name in _STAMPS if said.get(name)), None)
    if name is None:
        return ""
    value = said[name]
    # Some stores give a time as a date in one answer and as seconds in another.
    return f"{name}={value.timestamp() if isinstance(value, datetime) else value}"


def _call(fs: Any, method: str, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
    """Call ``fs.method``, for at most ``timeout_s`` where the file system is an asynchronous one.

    Those of object stores are. Of the others only a deadline outside can end a call.
    """
    from fsspec.asyn import sync

    with _as_os_errors(method):
        if fs.async_impl:
            return sync(fs.loop, getattr(fs, f"_{method}"), *args, timeout=timeout_s, **kwargs)
        return getattr(fs, method)(*args, **kwargs)


@contextmanager
def _as_os_errors(method: str) -> Iterator[None]:
    """Everything that a store's client may raise as an ``OSError``; see the top of this file."""
    try:
        yield
    except FileNotFoundError as error:
        # fsspec's HTTP says so of every failure that it meets twice.
        if error.__cause__ is not None and not _is_absence(error.__cause__):
            raise _failure(error.__cause__) from error
        raise
    except (OSError, SpectraNetError, *_OURS):
        raise
    except NotImplementedError as error:
        raise OSError(f"this kind of store cannot do it ({method})") from error
    except Exception as error:  # each store's client has its own family of errors
        raise _failure(error) from error


def _failure(error: BaseException) -> OSError:
    """One of ours for an error of a store's client; a ``PermissionError`` where that will not change."""
    kind = PermissionError if _status(error) in (401, 403) else OSError
    return kind(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _is_absence(error: BaseException) -> bool:
    if (status := _status(error)) is not None:
        return status in (404, 410)
    no_answer = isinstance(error, OSError) or type(error).__module__.startswith("aiohttp.")
    return isinstance(error, FileNotFoundError) or not no_answer


def _status(error: BaseException) -> int | None:
    """The status of an HTTP answer, where that is what the error is about."""
    if hasattr(error, "status"):
        status = error.status
    else:  # requests and httpx keep the answer; what botocore calls so is a dict
        status = getattr(error, "code", getattr(getattr(error, "response", None), "status_code", None))
    return status if isinstance(status, int) else None
