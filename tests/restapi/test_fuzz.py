"""Generated requests to the real API: nothing fails inside, and each answer is one that the description names."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.restapi.conftest import Serve
from tests.restapi.toys import instance, run

CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance"
SKIPPED = "^/api/v2/(events|consoles|uploads|.*/content$)"
"""No plain requests, and bytes that the toys' node has not; ``test_whole_document`` asks a whole one for them."""


@pytest.mark.timeout(180)
def test_generated_requests(serve: Serve, tmp_path: Path) -> None:
    async def main() -> None:
        async with serve() as site:
            site.toy.table.put(instance("web-1"))
            process = await asyncio.create_subprocess_exec(
                *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{site.base}/api/v2/openapi.json"),
                *("--url", site.base, "--tls-verify", str(site.ca_file), "--checks", CHECKS),
                *("--header", f"Authorization: Bearer {await site.token()}", "--exclude-path-regex", SKIPPED),
                *("--phases", "examples,fuzzing", "--max-examples", "6", "--seed", "7", "--no-color"),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, output.decode()
            assert b"Fuzzing" in output

    run(main, seconds=170)
