"""The small parts of the commands: addresses, job names, specs, tables."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from edge_agent.config import AgentConfig
from workrs.cli import agent, cluster, demo, node, result, up
from workrs.cli.connection import address
from workrs.cli.error import NotFoundError
from workrs.cli.job_name import find_job
from workrs.cli.minority import warn_of_minorities
from workrs.cli.options import Options
from workrs.cli.spec import add_spec_options, read_spec
from workrs.cli.stage import stage
from workrs.cli.table import percent, plain, size
from workrs.domain.errors import ConfigError
from workrs.domain.ids import JobId
from workrs.domain.record import Record
from workrs.wire import codec, topics
from workrs.wire.message import NodeState
from workrs.wire.view import ClusterView


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.1:1884", ("10.0.0.1", 1884)),
        ("broker.lan", ("broker.lan", 1883)),
        ("[::1]:99", ("::1", 99)),
        ("::1", ("::1", 1883)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    read = address(text)
    assert (read.host, read.port) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", ":1883", "host:", "host:0", "host:99999", "host:x", "host:-1", "::1:18830", "a:b:c"),
        *("a..b", "a..b:1883", f"{'a' * 64}.lan", "é" * 64),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    if text == "host:":
        assert address(text).port == 1883
        return
    with pytest.raises(ConfigError, match="HOST:PORT"):
        address(text)


def view_with(*jobs: str) -> ClusterView:
    view = ClusterView()
    for job in jobs:
        view.apply(topics.record("n1", job), codec.encode(Record(job=JobId(job))))
    return view


def test_a_job_is_found_by_its_full_name_and_by_a_unique_id() -> None:
    view = view_with("pump-7_sum", "pump-8_sum", "pump-8_a_b")
    assert find_job(view, "pump-8/sum").job == "pump-8_sum"
    assert find_job(view, "a_b").job == "pump-8_a_b"


def test_an_id_of_two_devices_must_be_told_apart() -> None:
    with pytest.raises(ConfigError, match="pump-7/sum, pump-8/sum"):
        find_job(view_with("pump-7_sum", "pump-8_sum"), "sum")


@pytest.mark.parametrize("text", ["pump-9/sum", "other"])
def test_an_unknown_job_is_not_found(text: str) -> None:
    with pytest.raises(NotFoundError, match=text):
        find_job(view_with("pump-7_sum"), text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("sun", "; did you mean sum?"),
        ("pump-8/sum", "; did you mean pump-7/sum?"),
        ("pump-7/other", "; workrs jobs lists them"),
        ("x" * 63, "; workrs jobs lists them"),
    ],
)
def test_a_name_that_is_near_is_offered(text: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_job(view_with("pump-7_sum"), text)
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", ["", "/", "a/b/c", "Pump/x", "../x", "pump_7/x"])
def test_what_is_no_job_name_is_wrong_use(text: str) -> None:
    with pytest.raises(ConfigError, match="names no job"):
        find_job(view_with("pump-7_sum"), text)


def asked(*words: str) -> Namespace:
    it = Options("submit", "publish", examples=("x",))
    add_spec_options(it)
    return it.parse(words, environ={}, home=Path("/nonexistent"))


def test_a_spec_from_options(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\x00\x01")
    (tmp_path / "main.py").write_text("print(1)")
    found = read_spec(
        asked(
            *("--image", "busybox", "--command", "sh -c 'echo a b'", "--input", f"{tmp_path}/in"),
            *("--file", f"main.py={tmp_path}/main.py", "--env", "A=1=2", "--label", "gpu"),
            *("--arch", "arm64", "--memory-mb", "64", "--attempt-timeout", "9"),
        )
    )
    assert found == {
        "image": "busybox",
        "command": ["sh", "-c", "echo a b"],
        "input": b"\x00\x01",
        "files": {"main.py": b"print(1)"},
        "env": {"A": "1=2"},
        "constraints": {"labels": ["gpu"], "arch": "arm64"},
        "memory_mb": 64,
        "timeout_s": 9.0,
    }


def test_options_win_over_the_file_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    spec = {"image": "a", "command": ["x"], "env": {"A": "1"}, "input_b64": "AA==", "cpus": 2}
    path.write_text(json.dumps(spec))
    (tmp_path / "in").write_bytes(b"new")
    found = read_spec(asked(str(path), "--image", "b", "--env", "B=2", "--input", f"{tmp_path}/in"))
    assert found == {
        "image": "b",
        "command": ["x"],
        "env": {"A": "1", "B": "2"},
        "input": b"new",
        "cpus": 2,
    }


WRONG_SPECS = {
    (): "nothing to submit",
    ("/nowhere.json",): "cannot read",
    ("--file", "main.py"): "NAME=PATH",
    ("--file", "main.py=/nowhere"): "cannot read",
    ("--env", "=1"): "NAME=VALUE",
    ("--command", "sh -c '"): "--command",
    ("-", "--input", "-"): "standard input",
}


@pytest.mark.parametrize("words", WRONG_SPECS)
def test_a_wrong_spec_is_wrong_use(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=WRONG_SPECS[words]):
        read_spec(asked(*words))


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"files": [1]}'])
def test_a_spec_file_that_is_none_is_wrong_use(text: str, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(text)
    (tmp_path / "x").write_text("")
    with pytest.raises(ConfigError):
        read_spec(asked(f"{tmp_path}/job.json", "--file", f"a={tmp_path}/x"))


def test_a_plain_table_cuts_nothing() -> None:
    rows = [["pump-7/sum", "running"], ["p/x", ""]]
    assert plain(("job", "state"), rows) == "JOB         STATE\npump-7/sum  running\np/x"


def test_numbers_for_humans() -> None:
    assert [percent(None), percent(0.0), percent(0.426)] == ["", "0 %", "43 %"]
    assert [size(0), size(1023), size(1536), size(1 << 30), size(1 << 50)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "1.0 GiB",
        "1024.0 TiB",
    ]


def node_config(*words: str) -> Namespace:
    return node.options().parse(words, environ={}, home=Path("/nonexistent"))


def test_a_node_is_configured_by_its_options() -> None:
    found = node.config(
        node_config(
            *("--name", "n1", "--listen", "10.0.0.1:1900", "--peer", "n2=10.0.0.2:1883"),
            *(
                "--peer",
                "n3=10.0.0.3",
                "--state",
                "/s",
                "--init",
                "--lease-ttl",
                "20",
                "--insecure",
            ),
        )
    )
    assert found.nodes == ("n1", "n2", "n3")
    assert (str(found.blobs), found.init, found.timing.ttl_s) == ("10.0.0.1:11900", True, 20.0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("--name", "n1", *(w for n in range(2, 7) for w in ("--peer", f"n{n}=h:1"))),
            "at most 5 nodes",
        ),
        (("--name", "n1", "--peer", "n2=h:1", "--peer", "n2=h:2"), "named twice"),
        (("--name", "n1", "--peer", "n2"), "NAME=HOST:PORT"),
        (("--name", "N 1"), "not allowed"),
        (("--name", "n1", "--lease-ttl", "3"), "ttl_s"),
    ],
)
def test_a_node_that_cannot_work_is_refused(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        node.config(node_config(*words))


def agent_config(*words: str) -> AgentConfig:
    return agent.config(agent.options().parse(words, environ={}, home=Path("/nonexistent")))


def test_an_agent_is_configured_by_its_options() -> None:
    found = agent_config(
        *("--name", "a1", "--node", "10.0.0.1:1900", "--node", "h", "--runtime", "process"),
        *("--state", "/s", "--slots", "3", "--label", "gpu", "--label", "lab-3"),
        *("--checkpoint-key", "/k", "--insecure"),
    )
    assert found.checkpoint_key == Path("/k")
    assert [str(at) for at in found.nodes] == ["10.0.0.1:1900", "h:1883"]
    assert (found.runtime, found.slots, found.labels) == ("process", 3, ("gpu", "lab-3"))
    assert found.memory_mb > 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--name", "a_1"), "not allowed"),
        (("--name", "a1", "--slots", "0"), "slots"),
        (("--name", "a1", "--runtime", "process", "--engine", "unix:///x"), "engine"),
    ],
)
def test_an_agent_that_cannot_work_is_refused(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        agent_config(*words)


def parsed(options: Options, *words: str) -> Namespace:
    return options.parse(words, environ={}, home=Path("/nonexistent"))


def test_the_ports_of_a_local_cluster_follow_its_first_one() -> None:
    assert up._ports(parsed(up.options(), "--nodes", "1")) == (1883, 7883)
    found = up._ports(parsed(up.options(), "--port", "2883"))
    assert found == (2883, 2884, 2885, 8883, 8884, 8885)


def test_the_nodes_of_others_are_not_the_number_of_nodes_of_up(tmp_path: Path) -> None:
    environ = {"WORKRS_NODES": "10.0.0.1:1883"}
    assert up.options().parse([], environ=environ, home=tmp_path).nodes == 3
    environ = {"WORKRS_NODE_COUNT": "5"}
    assert up.options().parse([], environ=environ, home=tmp_path).nodes == 5


def test_members_of_a_local_cluster_are_configured_by_its_plan_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "workrs.toml").write_text("slots = 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKRS_ENGINE", "unix:///x")
    environ = cluster._own_environment()
    words = ["--name", "a1", "--runtime", "process"]
    found = agent.config(agent.options().parse(words, environ=environ, home=tmp_path))
    assert found.slots > 0


@pytest.mark.parametrize("port", ["0", "-1", "59534", "99999"])
def test_a_port_that_cannot_be_is_wrong_use(port: str) -> None:
    with pytest.raises(ConfigError, match="write 1 to 59533"):
        up.run(parsed(up.options(), "--port", port))


def test_a_folder_that_cannot_be_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A node has its process to itself.
    monkeypatch.setattr("workrs.adapters.log.configure", lambda *, level: level)
    monkeypatch.setattr("broker.__main__.spare_full_collections", lambda: None)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot use the folder"):
        node.run(node_config("--name", "n1", "--init", "--state", f"{tmp_path}/file/n1"))
    with (
        pytest.raises(ConfigError, match="cannot use the folder"),
        stage(tmp_path / "file", purpose="test", runtime="process"),
    ):
        pass


def test_a_file_that_cannot_be_written_is_wrong_use() -> None:
    with pytest.raises(ConfigError, match="cannot write /nowhere/sum"):
        result._write(b"", parsed(result.options(), "sum", "--output", "/nowhere/sum"))
    with pytest.raises(ConfigError, match="cannot write /nowhere/summary"):
        demo.run(parsed(demo.options(), "--json", "/nowhere/summary"))


def test_a_node_without_a_majority_is_named_and_a_dead_one_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = ClusterView()
    for name, live, quorum in (("n1", True, False), ("n2", True, True), ("n3", False, False)):
        state = NodeState(
            boot=1, nonce="x", nodes=("n1", "n2", "n3"), live=live, quorum=quorum, nodes_heard=1
        )
        view.apply(topics.node(name, "state"), codec.encode(state))
    warn_of_minorities(view)
    captured = capsys.readouterr()
    assert captured.out == "", "a line among the data would break who reads it"
    assert captured.err == (
        "workrs: node n1 reaches 1 of 3 nodes: nothing is accepted or decided there, "
        "and what it shows may be old\n"
    )


@pytest.mark.parametrize(("port", "blobs"), [(1883, 11883), (55535, 65535), (55536, 45536)])
def test_a_blob_store_has_a_port_of_its_own_whatever_the_brokers_is(port: int, blobs: int) -> None:
    found = node.config(node_config("--name", "n1", "--listen", f"127.0.0.1:{port}"))
    assert found.blobs.port == blobs


@pytest.mark.parametrize("words", [("--web", "0"), ("--web", "65536"), ("--agents", "-1")])
def test_up_refuses_what_cannot_be_before_it_starts_anything(words: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"{words[0]} is {words[1]}: write"):
        up.run(parsed(up.options(), *words))
