"""The Helm chart renders what Kubernetes takes, and gives every part no more than it needs."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from app.cli import group
from app.db.roles import DatabaseRole
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CHART = ROOT / "deploy" / "helm" / "deid-gateway"
OLDEST, NEWEST = "1.27", "1.37"
EVERYTHING = {
    "worker": {
        "autoscaling": {"enabled": True},
        "serviceAccount": {"annotations": {"example.com/role": "uploader"}},
        "podLabels": {"team": "imaging"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "imaging", "operator": "Exists"}],
        "env": {"DEID_CHUNK_FILES": 128},
    },
    "image": {"tag": f"sha256:{'0' * 64}", "pullSecrets": [{"name": "pull"}]},
    "sources": [{"name": "archive", "mountPath": "/sources/archive", "claimName": "pacs"}],
    "stores": {"archive": {"url": "s3://bucket/prefix", "organizations": ["NORD"]}},
    "staging": {"existingClaim": "mine"},
    "networkPolicy": {
        "clients": [{"podSelector": {"matchLabels": {"app": "viewer"}}}],
        "reportingClients": [{"podSelector": {"matchLabels": {"app": "reports"}}}],
        "database": [{"ipBlock": {"cidr": "10.0.0.0/24"}}],
        "destinations": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
    },
    "labels": {"cost-centre": "radiology"},
    "env": {"DEID_OIDC_ISSUER": "https://login.example", "DEID_OIDC_AUDIENCE": "deid-gateway"},
    "files": [{"name": "ca", "mountPath": "/etc/hospital-ca", "secret": "hospital-ca"}],
    "gateway": {"tls": {"secret": "gateway-tls", "clientCa": "ca.crt"}},
    "reidentify": {
        "tls": {"secret": "reidentify-tls"},
        "env": {"DEID_BREAK_GLASS_URL": "https://watch.example/notices"},
    },
    "review": {"enabled": True},
    "audit": {
        "env": {
            "DEID_AUDIT_SYSLOG": "tls://siem.example:6514",
            "DEID_AUDIT_CHECKPOINT_TO": "/checkpoints",
        },
        "claims": [{"name": "kept", "mountPath": "/checkpoints", "claimName": "write-once"}],
    },
    "admin": {"serviceAccountName": "wrapping-keys"},
}
VALUES = {
    "default": {},
    "everything": EVERYTHING,
    "metrics-of-workers": {
        "worker": {"metrics": {"enabled": True, "port": 9500}},
        "networkPolicy": {"scrapers": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
    },
    "disk-of-each-pod": {"staging": {"kind": "pod"}},
    "only-single-objects": {
        name: {"enabled": False}
        for name in ("batches", "worker", "reidentify", "audit", "admin", "migrate")
    }
    | {"networkPolicy": {"enabled": False}},
}
ALWAYS = {"gateway", "batches", "reidentify", "audit", "admin"}
SERVING = {*ALWAYS, "review"}
# What KEDA 2.10 and later take; its own definitions are not part of Kubernetes' schemas.
NAMED = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
KEDA = {
    "ScaledObject": {
        "type": "object",
        "additionalProperties": False,
        "required": ["scaleTargetRef", "triggers"],
        "properties": {
            "scaleTargetRef": NAMED,
            **{
                name: {"type": "integer"}
                for name in (
                    *("pollingInterval", "cooldownPeriod"),
                    *("minReplicaCount", "maxReplicaCount"),
                )
            },
            "advanced": {"type": "object"},
            "triggers": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["type", "metadata", "authenticationRef"],
                    "properties": {
                        "type": {"const": "postgresql"},
                        "authenticationRef": NAMED,
                        "metadata": {
                            "type": "object",
                            "required": ["query", "targetQueryValue"],
                            "additionalProperties": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
    "TriggerAuthentication": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "secretTargetRef": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["parameter", "name", "key"],
                    "properties": {
                        "parameter": {"const": "connection"},
                        "name": {"type": "string"},
                        "key": {"type": "string"},
                    },
                },
            }
        },
    },
}


class Strict(yaml.SafeLoader):
    """Takes no key twice."""


def once(loader: Strict, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"a key stands twice among {keys}"
    return loader.construct_mapping(node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, once)


def helm(*arguments: str, values: dict | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "helm"), *arguments, str(CHART), "--values", "-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(values: dict) -> list[dict]:
    done = helm("template", "demo", values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, Strict) if document]


@pytest.fixture(scope="module")
def documents() -> dict[str, list[dict]]:
    return {name: rendered(values) for name, values in VALUES.items()}


@pytest.fixture(scope="module")
def everything(documents) -> list[dict]:
    return documents["everything"]


def component(document: dict) -> str:
    return document["metadata"]["labels"]["app.kubernetes.io/component"]


def of_kind(documents: list[dict], kind: str) -> dict[str, dict]:
    return {component(found): found for found in documents if found["kind"] == kind}


def pods(documents: list[dict]) -> dict[str, dict]:
    kinds = {**of_kind(documents, "Deployment"), **of_kind(documents, "Job")}
    return {name: found["spec"]["template"]["spec"] for name, found in kinds.items()}


def containers_of(pod: dict) -> list[dict]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def containers(documents: list[dict]) -> list[dict]:
    return [container for pod in pods(documents).values() for container in containers_of(pod)]


def test_the_chart_passes_the_linter():
    done = helm("lint", "--strict", values=EVERYTHING)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_takes_what_the_chart_renders(documents, name, version):
    native = [found for found in documents[name] if "keda.sh" not in found["apiVersion"]]

    assert native
    for document in native:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_autoscaler_takes_what_the_chart_renders(everything):
    own = [found for found in everything if "keda.sh" in found["apiVersion"]]

    assert [found["kind"] for found in own] == ["ScaledObject", "TriggerAuthentication"]
    for document in own:
        jsonschema.validate(document["spec"], KEDA[document["kind"]])


def test_the_autoscaler_scales_the_workers_and_nobody_else_sets_their_number(everything):
    scaled = of_kind(everything, "ScaledObject")["worker"]["spec"]["scaleTargetRef"]["name"]
    worker = of_kind(everything, "Deployment")["worker"]

    assert scaled == worker["metadata"]["name"]
    assert "replicas" not in worker["spec"]


@pytest.mark.parametrize(
    "typo",
    [
        {"workers": {}},
        {"worker": {"replica": 2}},
        {"staging": {"kind": "local"}},
        {"migrate": {"grants": {"everybody": "deid_gateway"}}},
        {"gateway": {"database": "postgresql://user:password@host/db"}},
    ],
)
def test_a_mistyped_value_is_refused(typo):
    assert helm("template", "demo", values=typo).returncode != 0


def test_every_container_is_locked(everything):
    for container in containers(everything):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
    for pod in pods(everything).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False


def test_the_private_key_is_mounted_by_reidentification_alone(everything):
    holders = {
        name
        for name, pod in pods(everything).items()
        if "deid-gateway-private-key" in json.dumps(pod)
    }

    assert holders == {"reidentify"}


def test_the_review_key_is_mounted_by_the_review_alone(everything):
    holders = {
        name
        for name, pod in pods(everything).items()
        if "deid-gateway-review-key" in json.dumps(pod)
    }

    assert holders == {"review"}


def test_what_is_held_is_seen_by_those_who_hold_and_those_who_review(everything):
    seeing = {
        name
        for name, pod in pods(everything).items()
        if any(
            mount["mountPath"] == "/quarantine" for mount in pod["containers"][0]["volumeMounts"]
        )
    }

    assert seeing == {"gateway", "worker", "review"}


def test_where_nobody_reviews_nothing_is_held(documents):
    text = json.dumps(documents["default"])

    assert "quarantine" not in text
    assert "DEID_QUARANTINE_DIR" not in text


def test_every_component_has_a_database_user_of_its_own(everything):
    users = {
        name: {
            entry["valueFrom"]["secretKeyRef"]["key"]
            for container in containers_of(pod)
            for entry in container.get("env", ())
            if entry["name"] == "DATABASE_URL"
        }
        for name, pod in pods(everything).items()
    }

    assert users == {
        "gateway": {"gateway"},
        "batches": {"batches"},
        "reidentify": {"reidentify"},
        "review": {"review"},
        "audit": {"auditor"},
        "admin": {"admin"},
        "worker": {"worker"},
        "migrate": {"owner"},
    }


def test_the_chart_makes_no_secret(everything):
    assert of_kind(everything, "Secret") == {}


def test_staging_and_sources_are_seen_by_those_who_work_on_files(everything):
    seeing = {
        name
        for name, pod in pods(everything).items()
        if any(mount["mountPath"] == "/staging" for mount in pod["containers"][0]["volumeMounts"])
    }
    sources = [
        mount
        for container in containers(everything)
        for mount in container["volumeMounts"]
        if mount["mountPath"].startswith("/sources")
    ]

    assert seeing == {"batches", "worker"}
    assert len(sources) == 2
    assert all(mount["readOnly"] for mount in sources)


def test_every_setting_that_the_chart_makes_is_one_of_the_program(everything):
    known = {f"DEID_{name.upper()}" for name in Settings.model_fields} | {"DATABASE_URL"}

    used = {entry["name"] for found in containers(everything) for entry in found.get("env", ())}

    assert used <= known
    assert "DEID_CHUNK_FILES" in used


def test_every_command_that_the_chart_runs_is_one_of_the_program(everything):
    commands = [found["args"] for found in containers(everything) if "args" in found]

    assert ["serve", "--role", "batch"] in commands
    for arguments in commands:
        # Help comes after every option was read, and before anything is done.
        assert CliRunner().invoke(group, [*arguments, "--help"]).exit_code == 0, arguments


def test_the_rights_of_every_serving_user_are_granted(everything):
    grant = next(
        found["args"] for found in containers(everything) if "grant" in found.get("args", ())
    )

    roles = {pair.partition("=")[0] for pair in grant[2:]}

    assert roles == set(DatabaseRole) - {DatabaseRole.AUDIT}


def test_every_policy_and_budget_selects_the_pods_of_its_component(everything):
    labels = {
        name: found["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "Job")
        for name, found in of_kind(everything, kind).items()
    }

    for kind, selector in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        for name, found in of_kind(everything, kind).items():
            assert found["spec"][selector]["matchLabels"].items() <= labels[name].items()
    assert set(of_kind(everything, "NetworkPolicy")) == set(labels)


def test_every_serving_component_has_one_role(everything):
    served = {
        name: pod["containers"][0]["args"]
        for name, pod in pods(everything).items()
        if pod["containers"][0]["args"][0] == "serve"
    }

    assert served == {
        "gateway": ["serve", "--role", "anonymize"],
        "batches": ["serve", "--role", "batch"],
        "reidentify": ["serve", "--role", "reidentify"],
        "review": ["serve", "--role", "review"],
        "audit": ["serve", "--role", "audit"],
        "admin": ["serve", "--role", "admin"],
    }


def test_mounted_secrets_are_readable_for_the_group_of_the_program_alone(everything):
    modes = {
        volume["secret"]["defaultMode"]
        for pod in pods(everything).values()
        for volume in pod["volumes"]
        if "secret" in volume
    }

    assert modes == {0o440}


def policies(documents: list[dict]) -> dict[str, dict]:
    return {name: found["spec"] for name, found in of_kind(documents, "NetworkPolicy").items()}


def leaving(documents: list[dict]) -> dict[str, list[int]]:
    """Tell which ports a component reaches beside DNS and the database."""
    found = {
        name: [port["port"] for rule in spec["egress"][2:] for port in rule["ports"]]
        for name, spec in policies(documents).items()
    }
    return {name: ports for name, ports in found.items() if ports}


def test_only_serving_components_are_reached_and_only_workers_leave_the_house(documents):
    by_name = policies(documents["default"])

    assert {name for name, spec in by_name.items() if spec["ingress"]} == ALWAYS
    assert leaving(documents["default"]) == {"worker": [443]}


def test_further_services_are_reached_by_those_whose_settings_name_them(everything):
    assert leaving(everything) == {
        "gateway": [443],
        "batches": [443],
        "reidentify": [443, 443],
        "review": [443],
        "audit": [443, 6514],
        "admin": [443],
        "worker": [443],
    }


@pytest.mark.parametrize(
    ("settings", "reaching"),
    [
        ({"DEID_KEY_PROVIDER": "vault-transit"}, {*ALWAYS, "worker"}),
        ({"DEID_KEY_PROVIDER": "pkcs11"}, set()),
        ({"DEID_OIDC_ISSUER": "https://login.example"}, ALWAYS),
        ({"DEID_BREAK_GLASS_URL": "https://watch.example"}, {"reidentify"}),
        ({"DEID_AUDIT_SYSLOG": "tls://siem.example:6514"}, {"audit"}),
        ({"DEID_AUDIT_CHECKPOINT_TO": "/checkpoints"}, set()),
    ],
)
def test_a_setting_of_all_lets_out_whoever_uses_it(documents, settings, reaching):
    before = leaving(documents["default"])

    found = leaving(rendered({"env": settings}))

    assert {name for name, ports in found.items() if ports != before.get(name)} == reaching


def test_the_way_back_the_audit_and_erasure_have_callers_of_their_own():
    values = {
        name: [{"podSelector": {"matchLabels": {"app": name}}}]
        for name in ("clients", "reportingClients", "reviewClients", "auditClients", "adminClients")
    }
    found = policies(rendered({"networkPolicy": values, "review": {"enabled": True}}))

    callers = {name: found[name]["ingress"][0]["from"] for name in SERVING}

    assert callers == {
        "gateway": values["clients"],
        "batches": values["clients"],
        "reidentify": values["reportingClients"],
        "review": values["reviewClients"],
        "audit": values["auditClients"],
        "admin": values["adminClients"],
    }


def test_settings_of_one_component_stand_above_those_of_all():
    values = {
        "env": {"DEID_LOG_LEVEL": "info", "DEID_CHUNK_FILES": 8},
        "audit": {"env": {"DEID_LOG_LEVEL": "debug"}},
    }
    environment = pods(rendered(values))["audit"]["containers"][0]["env"]

    chosen = [entry for entry in environment if entry["name"] in values["env"]]

    assert chosen == [
        {"name": "DEID_CHUNK_FILES", "value": "8"},
        {"name": "DEID_LOG_LEVEL", "value": "debug"},
    ]


def test_a_component_with_a_certificate_speaks_tls_to_its_probes_too(everything):
    asked = {name: pods(everything)[name]["containers"][0] for name in ("gateway", "reidentify")}
    services = of_kind(everything, "Service")

    assert asked["gateway"]["readinessProbe"]["tcpSocket"] == {"port": "http"}
    assert asked["reidentify"]["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert services["reidentify"]["spec"]["ports"][0]["port"] == 443
    assert services["audit"]["spec"]["ports"][0]["port"] == 80
    names = {entry["name"] for entry in asked["reidentify"]["env"]}
    assert {"DEID_TLS_CERTIFICATE_FILE", "DEID_TLS_KEY_FILE"} <= names
    assert "DEID_TLS_CLIENT_CA_FILE" not in names


def test_workers_are_asked_for_metrics_where_that_is_wanted_and_by_scrapers_alone(documents):
    asked = documents["metrics-of-workers"]
    template = of_kind(asked, "Deployment")["worker"]["spec"]["template"]
    container = template["spec"]["containers"][0]
    (rule,) = of_kind(asked, "NetworkPolicy")["worker"]["spec"]["ingress"]

    assert "--metrics-port=9500" in container["args"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9500}]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == "9500"
    assert rule["ports"] == [{"port": "metrics"}]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
    assert "metrics" not in json.dumps(of_kind(documents["default"], "Deployment"))


def test_the_metrics_port_of_the_chart_is_one_of_the_program(documents):
    pod = pods(documents["metrics-of-workers"])["worker"]

    arguments = [*pod["containers"][0]["args"], "--help"]

    assert CliRunner().invoke(group, arguments).exit_code == 0


def test_a_source_may_be_bound_to_organisations():
    source = {"mountPath": "/sources/x", "claimName": "pacs"}
    values = [
        source | {"name": "all"},
        source | {"name": "own", "mountPath": "/sources/own", "organizations": ["NORD", "WEST"]},
    ]
    worker = pods(rendered({"sources": values}))["worker"]["containers"][0]
    roots = next(entry["value"] for entry in worker["env"] if entry["name"] == "DEID_SOURCE_ROOTS")

    assert roots == "/sources/x:NORD=/sources/own:WEST=/sources/own"
