"""tus 1.0 against a receiver that can be slow, refuse and fail."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from nanocore.errors import ErrorCode, NanoError
from tests.restapi.conftest import Serve
from tests.restapi.test_api import IMAGE, check_problem
from tests.restapi.toys import run, until

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
PATH = f"/uploads/{IMAGE}"


def test_protocol(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            answer = await client.options(PATH)
            assert (answer.status_code, answer.headers["Tus-Version"]) == (204, "1.0.0")
            assert (await client.head(PATH, headers=TUS)).status_code == 401
            await site.login(client)
            site.toy.upload_size = 11
            answer = await client.head(PATH, headers=TUS)
            assert answer.status_code == 200
            assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("0", "11")
            answer = await client.patch(PATH, content=b"hello ", headers={**PATCH, "Upload-Offset": "0"})
            assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "6")
            assert answer.headers["Tus-Resumable"] == "1.0.0"
            answer = await client.patch(PATH, content=b"again ", headers={**PATCH, "Upload-Offset": "0"})
            check_problem(answer, 409, "conflict")
            answer = await client.patch(PATH, content=b"world", headers={**PATCH, "Upload-Offset": "6"})
            assert answer.headers["Upload-Offset"] == "11"
            assert bytes(site.toy.upload) == b"hello world"
            # What is missing or wrong is said, and nothing was written.
            check_problem(
                await client.patch(PATH, content=b"x", headers={"Upload-Offset": "11"}), 412, "invalid_argument"
            )
            check_problem(await client.patch(PATH, content=b"x", headers=PATCH), 400, "invalid_argument")
            bad = {**PATCH, "Upload-Offset": "-1"}
            check_problem(await client.patch(PATH, content=b"x", headers=bad), 400, "invalid_argument")
            plain = {**TUS, "Upload-Offset": "11", "Content-Type": "text/plain"}
            check_problem(await client.patch(PATH, content=b"x", headers=plain), 415, "invalid_argument")
            del client.headers["X-CSRF-Token"]
            forged = {**PATCH, "Upload-Offset": "11"}
            check_problem(await client.patch(PATH, content=b"x", headers=forged), 403, "permission_denied")
            assert bytes(site.toy.upload) == b"hello world"

    run(main)


def test_the_sender_goes_at_the_receivers_pace(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site:
            headers = {**PATCH, "Upload-Offset": "0", "Authorization": f"Bearer {await site.token()}"}
            piece, count = b"x" * 65536, 1024
            site.toy.upload_size = len(piece) * count
            site.toy.gate.clear()
            sent = 0

            async def pieces() -> Any:
                nonlocal sent
                for _ in range(count):
                    yield piece
                    sent += 1

            async with site.client() as client:
                request = asyncio.create_task(
                    client.patch(
                        PATH, content=pieces(), headers={**headers, "Content-Length": str(site.toy.upload_size)}
                    )
                )
                await until(lambda: site.toy.upload_pieces > 0)
                before = -1
                while before != sent:  # until nothing moves any more
                    before = sent
                    await asyncio.sleep(0.2)
                assert sent < count // 2  # buffers of sockets and credit, not the upload
                site.toy.gate.set()
                answer = await request
                assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(site.toy.upload_size))
                assert len(site.toy.upload) == site.toy.upload_size

    run(main)


def test_what_arrived_before_a_disconnect_is_kept(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            token = await site.token()
            context = ssl.create_default_context(cafile=str(site.ca_file))
            reader, writer = await asyncio.open_connection("localhost", site.port, ssl=context)
            head = (
                f"PATCH /api/v2{PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
                "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Length: 10\r\n"
                "Content-Type: application/offset+octet-stream\r\n\r\n"
            )
            writer.write(head.encode() + b"12345")
            await until(lambda: len(site.toy.upload) == 5)
            writer.close()
            del reader
            bearer = {**TUS, "Authorization": f"Bearer {token}"}
            answer = await client.head(PATH, headers=bearer)
            assert answer.headers["Upload-Offset"] == "5"
            rest = {**PATCH, **bearer, "Upload-Offset": "5"}
            assert (await client.patch(PATH, content=b"67890", headers=rest)).status_code == 204
            assert bytes(site.toy.upload) == b"1234567890"

    run(main)


def test_a_full_disk_is_said(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            site.toy.fail_upload = NanoError(ErrorCode.NO_CAPACITY, "the disk is full; make room")
            answer = await client.patch(PATH, content=b"x" * 3_000_000, headers={**PATCH, "Upload-Offset": "0"})
            problem = check_problem(answer, 503, "no_capacity")
            assert problem["detail"] == "the disk is full; make room"

    run(main)


def test_a_stalled_sender_is_cut_off(serve: Serve) -> None:
    async def main() -> None:
        async with serve(stall_seconds=1.0) as site:
            token = await site.token()
            context = ssl.create_default_context(cafile=str(site.ca_file))
            reader, writer = await asyncio.open_connection("localhost", site.port, ssl=context)
            head = (
                f"PATCH /api/v2{PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
                "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Length: 10\r\n"
                "Content-Type: application/offset+octet-stream\r\n\r\n"
            )
            writer.write(head.encode() + b"123")
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            await until(lambda: len(site.toy.upload) == 3)

    run(main)
