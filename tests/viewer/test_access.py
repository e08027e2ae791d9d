"""Who may look, and that looking is all that can be done."""

from __future__ import annotations

import json
import re
import socket
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from made_runs import TOKEN, make_run

from agentscope_tuner.errors import InputError
from agentscope_tuner.listening import listen
from agentscope_tuner.viewer.access import Guard
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.server import STATIC, create_app

PORT = 4711
COOKIE = {"cookie": f"astuner_view_{PORT}={TOKEN}"}


@pytest.fixture
def client(tmp_path: Path) -> httpx.AsyncClient:
    make_run(tmp_path / "P" / "one", steps=2)
    return client_of(tmp_path)


def client_of(directory: Path, host: str = "127.0.0.1") -> httpx.AsyncClient:
    app: Any = Guard(create_app(Library(directory)), TOKEN, host, PORT)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url=f"http://127.0.0.1:{PORT}"
    )


async def test_the_address_with_the_token_sets_a_cookie_that_no_script_and_no_site_can_use(client):
    answer = await client.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert cookie == f"astuner_view_{PORT}={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert (await client.get("/api/runs", headers=COOKIE)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/?token=wrong", "/api/runs", "/static/main.js", "/x"])
async def test_without_the_token_there_is_nothing(client, path):
    answer = await client.get(path)
    assert answer.status_code == 403
    assert "the address that `astuner view` printed" in answer.text


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/nothing", "/static/app.css"])
async def test_every_answer_keeps_the_page_to_itself(client, path):
    for headers in ({}, COOKIE):
        answer = await client.get(path, headers=headers)
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:9000"}, 200),  # the end of a tunnel
        ({"host": "[::1]:9000"}, 200),
        ({"host": "evil.example:4711"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"http://127.0.0.1:{PORT}"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"cookie": "astuner_view_4711=wrong"}, 403),
    ],
)
async def test_other_hosts_and_other_sites_are_refused_with_the_cookie_too(client, headers, status):
    assert (await client.get("/api/runs", headers={**COOKIE, **headers})).status_code == status


async def test_another_interface_is_known_by_its_own_name_and_numbers_only(tmp_path):
    make_run(tmp_path / "P" / "one", steps=1)
    client = client_of(tmp_path, host="0.0.0.0")
    for host, status in (("10.0.0.5:4711", 200), ("evil.example", 421)):
        answer = await client.get("/api/runs", headers={**COOKIE, "host": host})
        assert answer.status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_changed(client, method):
    answer = await client.request(method, "/api/runs", headers=COOKIE)
    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/api/run?run=nobody", 404, "There is no run 'nobody' here."),
        ("/api/run?run=../../etc", 404, "There is no run '../../etc' here."),
        ("/api/run", 400, "is not what this page asks for"),
        ("/api/step?run=P/one&step=x", 400, "is not what this page asks for"),
        ("/api/group?run=P/one&step=1&group=x", 404, "There is no group 'x'"),
        ("/api/rollout?run=P/one&step=1&id=x", 404, "There is no rollout 'x'"),
        ("/api/list?run=P/one&q=rewrd<1", 404, "did you mean 'reward'?"),
        ("/api/nothing", 404, "There is nothing here."),
        ("/static/..%2f__init__.py", 404, "There is nothing here."),
        ("/static/access.py", 404, "There is nothing here."),
    ],
)
async def test_what_cannot_be_shown_is_told_in_a_sentence(client, path, status, sentence):
    answer = await client.get(path, headers=COOKIE)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


async def test_what_has_not_changed_is_not_sent_again(client):
    first = await client.get("/api/run?run=P/one", headers=COOKIE)
    again = {**COOKIE, "if-none-match": first.headers["etag"]}
    assert (await client.get("/api/run?run=P/one", headers=again)).status_code == 304


async def test_looking_writes_nothing(client, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for path in ("runs", "run?run=P/one", "files?run=P/one", "list?run=P/one", "pulse?run=P/one"):
        assert (await client.get(f"/api/{path}", headers=COOKIE)).status_code == 200
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


async def test_numbers_that_json_does_not_know_are_null(client, tmp_path):
    path = tmp_path / "P" / "one" / "config.yaml"
    path.write_text("a: .nan\nb: .inf\n")
    other = make_run(tmp_path / "P" / "two", steps=1)
    (other / "config.yaml").write_text("a: 1\n")
    answer = await client.get("/api/runs", headers=COOKIE)
    json.loads(answer.text, parse_constant=lambda name: pytest.fail(name))


def test_a_port_that_is_taken_is_told_in_a_sentence():
    first = listen("127.0.0.1", None)
    port = first.getsockname()[1]
    socket.create_connection(("127.0.0.1", port)).close()  # there before anybody is told
    with pytest.raises(InputError, match=rf"port {port} of 127.0.0.1 cannot be listened on"):
        listen("127.0.0.1", port)
    first.close()


def test_a_directory_without_runs_is_told_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="There are no runs in"):
        Library(tmp_path)


def own_files() -> dict[str, str]:
    return {n: c.decode() for n, c in STATIC.items() if not n.startswith("uplot")}


def test_the_front_end_makes_no_html_of_text_and_knows_no_other_address():
    unsafe = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc"
        r"|createContextualFragment|DOMParser|setHTML|import\("
    )
    for name, text in own_files().items():
        assert not unsafe.findall(text), name
        addresses = set(re.findall(r"https?://[^\s\"'`)]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name  # a name, not an address


def test_the_front_end_stays_small():
    lines = sum(text.count("\n") for name, text in own_files().items() if name.endswith(".js"))
    assert lines < 2000
    assert sum(map(len, STATIC.values())) < 200_000


def test_what_is_not_ours_has_its_licence_version_and_checksum_beside_it():
    import hashlib

    vendor = files("agentscope_tuner.viewer") / "static" / "vendor"
    listed = json.loads((vendor / "vendored.json").read_text())
    names = {file.name for file in vendor.iterdir()} - {"vendored.json"}
    assert names == {name for package in listed for name in package["sha256"]}
    for package in listed:
        assert package["license"] == "MIT"
        for name, digest in package["sha256"].items():
            content = (vendor / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest, name
