"""The examples in `deploy/` fit the service: its settings, its addresses, its image, and each other."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from conftest import ROOT

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import yaml
from typer.main import get_command

from detector.cli import app
from detector.service import api
from detector.service.settings import Settings

PREFIX = "DETECTOR_SERVE_"
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
KINDS = {item["kind"]: item for item in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())}
POD = KINDS["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENVIRONMENTS = {
    "compose": COMPOSE["services"]["service"]["environment"],
    "kubernetes": {item["name"]: item.get("value", "postgresql://u:p@h/n") for item in CONTAINER["env"]},
}


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_every_variable_is_a_setting_and_its_value_is_valid(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENTS[where].items():
        assert name.startswith(PREFIX)
        assert name.removeprefix(PREFIX).lower() in Settings.model_fields
        assert isinstance(value, str)
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert str(settings.folder) == "/state"
    grace = {"compose": int(COMPOSE["services"]["service"]["stop_grace_period"].removesuffix("s")),
             "kubernetes": POD["spec"]["terminationGracePeriodSeconds"]}  # fmt: skip
    assert grace[where] > settings.wait + 2 * settings.drain
    memory = {"compose": COMPOSE["services"]["service"]["mem_limit"].removesuffix("g"),
              "kubernetes": CONTAINER["resources"]["limits"]["memory"].removesuffix("Gi")}  # fmt: skip
    assert int(memory[where]) * 2**30 > settings.workers * settings.memory + (settings.workers + 1) * 600e6


def test_the_image_has_what_the_examples_start() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    assert (
        CONTAINER["command"] == COMPOSE["services"]["service"]["entrypoint"] == ["/opt/detector/bin/detector", "serve"]
    )
    assert "python -m venv /opt/detector " in DOCKERFILE
    assert "ARG EXTRAS" in DOCKERFILE
    options = {name for parameter in commands["serve"].params for name in parameter.opts}
    for path in ("compose.yaml", "kubernetes.yaml"):
        text = (ROOT / "deploy" / path).read_text()
        (named,) = re.findall(r"EXTRAS(?:=|: )(\S+)", text)
        assert {"serve", "postgres"} <= set(named.split(",")) <= set(extras)
        assert set(re.findall(r"(--new-key|--revoke-key)", text)) <= options
    assert POD["spec"]["securityContext"]["runAsUser"] == int(re.findall(r"^USER (\d+)", DOCKERFILE, re.M)[0])
    assert "/state" in DOCKERFILE


def find_commands(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of `detector` that a file of an example runs, each with its options.

    A command line stands in a list, as in `ENTRYPOINT [...]`, or in a comment, where `service` and the name of the
    image stand for the program with the first words of its list.
    """
    joined = re.sub(r"\\\n#?\s*", " ", text)
    lists = [json.loads(found) for found in re.findall(r"\[\"/opt/detector/bin/detector\".*?\]", joined)]
    lines = [found.split() for found in re.findall(r"/opt/detector/bin/detector (\w.*)", joined)]
    lines += [[lists[0][1], *found.split()] for found in re.findall(r"run --rm service (.*)| detector /data", joined)]
    return [(words[0], [word for word in words if word.startswith("--")]) for words in
            [*(words[1:] for words in lists), *([w for w in line if w != "#"] for line in lines)]]  # fmt: skip


@pytest.mark.parametrize(("name", "commands"), [
    ("Dockerfile", {"score"}), ("deploy/compose.yaml", {"serve"}), ("deploy/kubernetes.yaml", {"serve"}),
])  # fmt: skip
def test_every_command_and_option_of_an_example_exists(name: str, commands: set[str]) -> None:
    known: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    found = find_commands((ROOT / name).read_text())
    assert {command for command, _ in found} == commands
    for command, options in found:
        assert set(options) <= {name for parameter in known[command].params for name in parameter.opts}
    if name != "Dockerfile":
        assert ("serve", ["--new-key"]) in found


def test_the_image_is_built_of_files_that_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M) for name in line.split()}
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)
    for named in re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE):
        assert set(named.split(",")) <= set(extras)


def test_probes_ask_addresses_of_the_service_without_a_key() -> None:
    from detector.service.access import OPEN

    routes = {route.path for route in api.router.routes}  # type: ignore[attr-defined]
    probes = [CONTAINER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    for probe in probes:
        assert probe["path"] in routes & set(OPEN)
        assert probe["port"] == CONTAINER["ports"][0]["name"] == KINDS["Service"]["spec"]["ports"][0]["targetPort"]
    port = ENVIRONMENTS["kubernetes"][PREFIX + "PORT"]
    assert CONTAINER["ports"][0]["containerPort"] == int(port)
    service = COMPOSE["services"]["service"]
    assert f":{service['environment'][PREFIX + 'PORT']}/readyz" in service["healthcheck"]["test"][-1]
    assert service["ports"] == ["127.0.0.1:8000:8000"]


def test_the_parts_of_the_examples_refer_to_each_other() -> None:
    assert KINDS["Deployment"]["spec"]["replicas"] == 1
    assert KINDS["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    labels = POD["metadata"]["labels"]
    assert KINDS["Deployment"]["spec"]["selector"]["matchLabels"] == KINDS["Service"]["spec"]["selector"] == labels
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounts == {"state": "/state", "scratch": "/tmp"}
    assert set(volumes) == set(mounts)
    claim = volumes["state"]["persistentVolumeClaim"]["claimName"]
    assert claim == KINDS["PersistentVolumeClaim"]["metadata"]["name"]
    used = {name.partition(":")[0] for part in COMPOSE["services"].values() for name in part["volumes"]}
    assert used == set(COMPOSE["volumes"])
    assert {name for part in COMPOSE["services"].values() for name in part["networks"]} == set(COMPOSE["networks"])
    assert set(COMPOSE["services"]["service"]["depends_on"]) <= set(COMPOSE["services"])
    url = COMPOSE["services"]["service"]["environment"][PREFIX + "DATABASE"]
    assert url.partition("@")[2].partition("/")[0] in COMPOSE["services"]


def test_no_example_gives_the_service_rights() -> None:
    service = COMPOSE["services"]["service"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    allowed = CONTAINER["securityContext"]
    assert allowed["readOnlyRootFilesystem"] is True
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert "ports" not in COMPOSE["services"]["database"]
