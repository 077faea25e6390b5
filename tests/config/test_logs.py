"""Logs: lines of JSON, context on every line, no secrets."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

from nanocore.logs import REDACTED, ForeignHandler, log_context, make_logger

SECRET = "s3cr3t-" + "x" * 30


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_line_of_json_whatever_is_in_it() -> None:
    stream = io.StringIO()
    make_logger(stream).info("hello", name="a\nb\x1b[31m", other=object())
    (line,) = lines(stream)
    assert line["event"] == "hello"
    assert line["level"] == "info"
    assert line["name"] == "a\nb\x1b[31m"
    assert "timestamp" in line


def test_levels_are_filtered() -> None:
    stream = io.StringIO()
    log = make_logger(stream, "warning")
    log.info("no")
    log.warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_context_is_on_every_line_inside_and_none_outside() -> None:
    stream = io.StringIO()
    log = make_logger(stream)
    with log_context(trace="t-1", plugin="toy"):
        log.info("inside")
    log.info("outside")
    inside, outside = lines(stream)
    assert (inside["trace"], inside["plugin"]) == ("t-1", "toy")
    assert "trace" not in outside


def test_secrets_are_never_written() -> None:
    stream = io.StringIO()
    log = make_logger(stream)
    log.info("x", password=SECRET, credential=SECRET, body={"otp": SECRET, "list": [{"secret_key": SECRET}]})
    log.info(f"Bearer {SECRET}", text=f"token:{SECRET} and nano_{SECRET}", token_id="kept")
    log.info("x", deep={"a": {"b": {"c": {"d": {"e": {"f": {"g": f"session:{SECRET}"}}}}}}})
    try:
        raise ValueError(f"session:{SECRET}")
    except ValueError:
        log.exception("failed")
    assert SECRET not in stream.getvalue()
    first, second, *_ = lines(stream)
    assert first["password"] == REDACTED
    assert second["token_id"] == "kept"


def test_a_closed_stream_does_not_break_the_work() -> None:
    stream = io.StringIO()
    log = make_logger(stream)
    stream.close()
    log.error("nobody reads this")
    assert stream.closed


def test_what_libraries_log_comes_out_as_ours() -> None:
    stream = io.StringIO()
    library = logging.getLogger("some.library")
    handler = ForeignHandler(make_logger(stream))
    library.addHandler(handler)
    try:
        library.warning("took %d ms", 12)
    finally:
        library.removeHandler(handler)
    (line,) = lines(stream)
    assert (line["event"], line["library"], line["level"]) == ("took 12 ms", "some.library", "warning")
