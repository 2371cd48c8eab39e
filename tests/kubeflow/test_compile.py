"""What `make kubeflow` writes: that it is committed, that Kubeflow takes it, and what is refused."""

import copy
import dataclasses
import json
import math
import re

import kfp
import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

from components.evaluator.regions import RegionFile
from kubeflow import compile as compiling
from kubeflow import entrypoint, runtime_parameters
from kubeflow.config import CONFIG, Beam, Config, ConfigError, load_config
from kubeflow.errors import CompileError
from kubeflow.lengths import check_lengths
from kubeflow.package import PIPELINE
from pipeline.configs import PROJECT
from pipeline.data import describe_data
from tests.kubeflow import rules
from tests.kubeflow_cluster import proof

ARGUMENT_LIMIT = 131_071  # Linux's MAX_ARG_STRLEN, without the byte that ends it
# Of KubernetesExecutorConfig (kubernetes_platform/proto/kubernetes_executor_config.proto of KFP 2.16) the
# fields that are used, with those of their messages.
KUBERNETES = {
    "imagePullSecret": {"secretName", "secretNameParameter"},
    "pvcMount": {"mountPath", "constant", "pvcNameParameter"},
    "nodeSelector": {"labels"},
    "tolerations": {"key", "operator", "value", "effect"},
    "secretAsEnv": {"secretName", "secretNameParameter", "keyToEnv"},
    "secretAsVolume": {"secretName", "secretNameParameter", "mountPath"},
}


TPU_NODES = {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
    "cloud.google.com/gke-tpu-topology": "2x2",
}


def with_tpu(config, count, labels, env=()):
    """The committed configuration with another Trainer."""
    trainer = {
        "accelerator": {"type": "google.com/tpu", "count": count},
        "node_selector": labels,
        "env": dict(env),
    }
    values = config.model_dump(exclude_unset=True)
    return Config.model_validate(values | {"components": {**values["components"], "Trainer": trainer}})


@pytest.fixture(scope="module")
def config():
    return load_config()


@pytest.fixture(scope="module")
def settings(config):
    return compiling.settings_of(config)


@pytest.fixture(scope="module")
def compiled(settings, config):
    return compiling.compile_pipeline(settings, config)


def constants(spec):
    """(task, parameter) -> constant, of those that have one."""
    return {
        (task, name): parameter["runtimeValue"]["constant"]
        for task, content in spec["root"]["dag"]["tasks"].items()
        for name, parameter in content["inputs"].get("parameters", {}).items()
        if "runtimeValue" in parameter
    }


def test_regions_go_to_the_evaluator_and_are_looked_at_first(config, tmp_path):
    bed = tmp_path / "genes.bed"
    bed.write_text("U00096.3\t100\t200\n")
    run = config.pipeline.model_copy(update={"regions": bed})
    config = config.model_copy(update={"pipeline": run})
    settings = compiling.settings_of(config)
    spec = compiling.compile_pipeline(settings, config).spec
    (executor,) = (one for name, one in spec["deploymentSpec"]["executors"].items() if "first-look" in name)
    arguments = executor["container"]["args"]
    fields = json.loads(arguments[arguments.index("--regions") + 1])
    (file,) = settings.region_files.values()
    assert RegionFile(**fields["ecoli"]).sha256 == file.sha256
    evaluated = json.loads(constants(spec)["evaluator", "eval_config"])
    assert file.sha256 in json.dumps(evaluated)


def test_variants_go_to_the_scorer_and_are_looked_at_first(compiled, settings, config):
    (file,) = settings.variant_files.values()
    arguments = compiled.spec["deploymentSpec"]["executors"]["exec-first-look"]["container"]["args"]
    asked = json.loads(arguments[arguments.index("--variants") + 1])
    assert asked == json.loads(constants(compiled.spec)["variant-scorer", "variants"])
    assert asked == {"ecoli": {"path": "/app/datasets/ecoli/variants.vcf.gz", "sha256": file.sha256}}
    # What the task would need may stay in the configuration.
    without = config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"variants": None})})
    spec = compiling.compile_pipeline(compiling.settings_of(without), without).spec
    assert "variant-scorer" not in spec["root"]["dag"]["tasks"]


def test_a_worker_pool_that_can_be_asked_is_asked_first(config):
    flags = "--runner=PortableRunner --job_endpoint=jobs:8099 --environment_type=EXTERNAL"
    beam = Beam(flags=f"{flags} --environment_config=beam-workers:50000", files="volume")
    config = config.model_copy(update={"beam": beam})
    spec = compiling.compile_pipeline(compiling.settings_of(config), config).spec
    arguments = spec["deploymentSpec"]["executors"]["exec-first-look"]["container"]["args"]
    assert arguments[arguments.index("--workers") + 1] == "beam-workers:50000"


def test_the_committed_file_is_up_to_date(compiled):
    assert compiled.text() == PIPELINE.read_text(), "run: make kubeflow"
    committed = {file.name for file in entrypoint.PARAMETERS.glob("*")}
    assert compiled.long_texts.keys() == committed, "run: make kubeflow"


def test_kubeflow_takes_it(compiled):
    assert rules.violations(compiled.spec, compiled.platform) == []
    spec = json_format.ParseDict(compiled.spec, pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version == "2.1.0"
    json_format.ParseDict(compiled.platform, pipeline_spec_pb2.PlatformSpec())
    loaded = components.load_component_from_file(str(PIPELINE))
    runs_give = ["data_fingerprint", "steps", "threshold_log1p_pearson_r", "warm_start"]
    assert sorted(loaded.component_spec.inputs) == runs_give
    assert all(one.optional for one in loaded.component_spec.inputs.values())
    for executor in spec.deployment_spec["executors"].values():
        container = pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec()
        json_format.ParseDict(json_format.MessageToDict(executor), container)
        assert container.WhichOneof("spec") == "container"  # no resolver, no importer


def test_names_are_those_that_kubeflow_allows(compiled):
    tasks = compiled.spec["root"]["dag"]["tasks"]
    for name, task in tasks.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        component = compiled.spec["components"][task["componentRef"]["name"]]
        assert component["executorLabel"] in compiled.spec["deploymentSpec"]["executors"]
        assert set(task.get("dependentTasks", ())) < tasks.keys()


def test_no_path_of_this_machine(compiled):
    assert str(PROJECT) not in compiled.text()
    assert compiled.spec["root"]["dag"]["tasks"]["pusher"]["inputs"]["parameters"]["destination"] == {
        "runtimeValue": {"constant": "/app/runs/kubeflow/pushed"}
    }


def test_the_defaults_put_back_give_the_pipeline_as_it_is_defined(compiled, settings, config):
    defaults = {
        name: one["defaultValue"]
        for name, one in compiled.spec["root"]["inputDefinitions"]["parameters"].items()
    }
    defaults["warm_start_fingerprint"] = ""  # the first look's answer
    base = compiling._compile(settings, defaults["data_fingerprint"], config)
    expected = {(compiling._kebab(task), name): value for (task, name), value in constants(base).items()}
    found = {
        place: entrypoint.fill_in(value, defaults) if isinstance(value, str) else value
        for place, value in constants(compiled.spec).items()
    }
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        assert (json.loads(found[place]) if isinstance(value, dict | list) else found[place]) == value


def test_a_value_that_others_are_made_of_cannot_be_a_parameter_of_the_run(settings, config):
    base = compiling._compile(settings, "0", config)
    shorter = dataclasses.replace(settings, max_drop=0.03)  # the Evaluator gets it with the other sign
    other = compiling._compile(shorter, "0", config)
    parameter = runtime_parameters.RuntimeParameter("max_drop", 0.02, 0.03, shorter, "0")
    with pytest.raises(CompileError, match=r"max_drop cannot be .*Evaluator.*eval_config.*-0\.03"):
        runtime_parameters.make_runtime_parameter(copy.deepcopy(base), base, other, parameter)


@pytest.fixture(scope="module")
def many_tracks(settings, tmp_path_factory):
    """The settings with the paper's 5,313 human tracks."""
    folder = tmp_path_factory.mktemp("human")
    row = "{index}\thuman\tENCFF{index:06d}XYZ\tsignal.bw\t32\t1\tmean\tCHIP:H3K27ac:cell line number {index}"
    header = "index\tgenome\tidentifier\tfile\tclip\tscale\tsum_stat\tdescription"
    table = "\n".join([header, *(row.format(index=index) for index in range(5313))]) + "\n"
    (folder / "tracks.tsv").write_text(table)
    description = yaml.safe_load(settings.dataset.read_text()) | {"tracks": "tracks.tsv"}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description))
    assert len(describe_data(folder / "dataset.yaml").organisms[0].tracks) == 5313
    return dataclasses.replace(settings, dataset=folder / "dataset.yaml")


def test_5313_tracks_go_into_files_of_the_image(many_tracks, config, tmp_path, monkeypatch):
    compiled = compiling.compile_pipeline(many_tracks, config)
    compiled.write(tmp_path / "pipeline.yaml", tmp_path / "parameters")
    parameters = compiled.spec["root"]["dag"]["tasks"]["evaluator"]["inputs"]["parameters"]
    text = parameters["eval_config"]["runtimeValue"]["constant"]
    assert len(text) < 100
    longest = max(len(json.dumps(task)) for task in compiled.spec["root"]["dag"]["tasks"].values())
    assert longest < ARGUMENT_LIMIT / 2
    assert len(json.dumps(compiled.spec["root"])) < 20_000
    with pytest.raises(SystemExit, match=r"is not in this image.*make kubeflow"):
        entrypoint.fill_in(text, {})
    monkeypatch.setattr(entrypoint, "PARAMETERS", tmp_path / "parameters")
    filled = entrypoint.fill_in(text, {"threshold_log1p_pearson_r": 0.25})
    assert len(filled) > ARGUMENT_LIMIT
    assert '"lower_bound": 0.25' in filled
    metrics = json.loads(filled)["metrics_specs"][0]["metrics"]
    assert len(json.loads(metrics[0]["config"])["track_names"]) == 5313


def test_a_command_that_linux_would_not_take_is_refused(many_tracks, config, monkeypatch):
    monkeypatch.setattr(compiling, "LONGEST_PARAMETER", 10**9)
    with pytest.raises(CompileError, match=r"a variable of \d{6,} bytes.*The longest .* is eval_config"):
        compiling.compile_pipeline(many_tracks, config)


def test_a_task_that_argo_would_need_a_config_map_for(compiled):
    """On a cluster one of 97,961 bytes ended with `configmaps is forbidden`."""
    spec = copy.deepcopy(compiled.spec)
    versions = spec["root"]["dag"]["tasks"]["pusher"]["inputs"]["parameters"]["destination"]["runtimeValue"]
    versions["constant"] = "x" * 45_000
    check_lengths(spec)
    versions["constant"] = "x" * 60_000
    with pytest.raises(CompileError, match=r"pusher: Argo .* a variable of \d{6} .* destination, 60\d+"):
        check_lengths(spec)


def test_tasks_that_are_too_long_together(compiled):
    spec = copy.deepcopy(compiled.spec)
    for name in ("pusher", "evaluator", "trainer"):
        inputs = spec["root"]["dag"]["tasks"][name]["inputs"]
        inputs["parameters"]["more"] = {"runtimeValue": {"constant": "x" * 27_000}}
    with pytest.raises(CompileError, match=r"the driver of all tasks .* 13\d{4} bytes"):
        check_lengths(spec)


@pytest.mark.parametrize("name", ["Enformer", "enformer_ecoli", "-enformer", "e" * 58])
def test_a_name_that_kubeflow_does_not_take(settings, config, name):
    with pytest.raises(CompileError, match=f"the pipeline's name is '{name}', and Kubeflow takes at most"):
        compiling.compile_pipeline(dataclasses.replace(settings, name=name), config)


def test_the_root_is_among_what_the_cache_goes_by(settings, config, compiled):
    """An input in the store of another root cannot be fetched: on a cluster the Trainer ended so."""
    root = "s3://bucket/runs"
    spec = compiling.compile_pipeline(settings, config.model_copy(update={"pipeline_root": root})).spec
    for label, executor in spec["deploymentSpec"]["executors"].items():
        arguments = executor["container"]["args"]
        if label != "exec-first-look":  # which is never cached
            assert arguments[arguments.index(entrypoint.PIPELINE_ROOT) + 1] == root
    assert entrypoint.PIPELINE_ROOT not in compiled.text()


def test_what_tasks_need(settings):
    config = Config.model_validate(
        {
            "image": "registry.example.com/enformer-keras:0.1.0",
            "image_pull_secrets": ["registry"],
            "pipeline_root": "s3://bucket/runs",
            "pipeline": {"dataset": "d", "run": "r", "steps": 1},
            "volumes": [{"claim": "data", "mount": "/app/data"}],
            "defaults": {"cpu": 2, "memory": "4Gi", "env": {"A": "1"}},
            "components": {
                "Trainer": {
                    "cpu": "500m",
                    "cpu_limit": "8",
                    "memory_limit": "1Ti",
                    "accelerator": {"type": "google.com/tpu", "count": 4},
                    "node_selector": TPU_NODES,
                    "tolerations": [{"key": "tpu", "effect": "NoSchedule"}],
                    "secrets": [{"name": "s3", "env": {"AWS_ACCESS_KEY_ID": "id"}, "mount": "/secrets"}],
                    "retries": {"count": 3, "wait_s": 10, "factor": 1, "deadline_s": 3600},
                    "cache": False,
                }
            },
        }
    )
    compiled = compiling.compile_pipeline(settings, config)
    assert compiled.spec["defaultPipelineRoot"] == "s3://bucket/runs"
    executors = compiled.spec["deploymentSpec"]["executors"]
    assert executors["exec-trainer"]["container"]["resources"] == {
        "resourceCpuRequest": "500m",
        "resourceCpuLimit": "8",
        "resourceMemoryRequest": "4Gi",
        "resourceMemoryLimit": "1Ti",
        "accelerator": {"resourceType": "google.com/tpu", "resourceCount": "4"},
    }
    assert executors["exec-genome-example-gen"]["container"]["resources"]["resourceCpuRequest"] == "2"
    assert executors["exec-pusher"]["container"]["env"] == [{"name": "A", "value": "1"}]
    # Chips that do not answer are an error.
    asked = {variable["name"]: variable["value"] for variable in executors["exec-trainer"]["container"]["env"]}
    assert asked == {"A": "1", "TPU_NAME": "local"}
    tasks = compiled.spec["root"]["dag"]["tasks"]
    assert tasks["trainer"]["cachingOptions"] == tasks["first-look"]["cachingOptions"] == {}
    assert tasks["pusher"]["cachingOptions"] == {"enableCache": True}
    assert tasks["trainer"]["retryPolicy"] == {
        "maxRetryCount": 3,
        "backoffDuration": "10s",
        "backoffFactor": 1,
        "backoffMaxDuration": "3600s",
    }
    assert "retryPolicy" not in tasks["pusher"]
    json_format.ParseDict(compiled.spec, pipeline_spec_pb2.PipelineSpec())
    pods = compiled.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert pods.keys() == executors.keys()
    assert pods["exec-trainer"].keys() == KUBERNETES.keys()
    assert pods["exec-trainer"]["nodeSelector"] == {"labels": TPU_NODES}
    for pod in pods.values():
        for field, value in pod.items():
            for message in value if isinstance(value, list) else [value]:
                assert message.keys() <= KUBERNETES[field]


def test_a_trainer_on_tpu_chips(config):
    """Asked for in config.yaml, they decide how is trained too; and Kubeflow takes what is compiled."""
    config = with_tpu(config, 4, TPU_NODES)
    compiled = compiling.compile_pipeline(compiling.settings_of(config), config)
    assert rules.violations(compiled.spec, compiled.platform) == []
    told = json.loads(constants(compiled.spec)["trainer", "custom_config"])
    training = told["training"]
    assert {name: training[name] for name in ("strategy", "jit_compile", "batch_size")} == {
        "strategy": "tpu",
        "jit_compile": False,
        "batch_size": 8,
    }
    assert training["steps_per_execution"] == 20
    assert told["model"]["dtype"] == "mixed_bfloat16"
    assert told["model"]["tower_pieces"] == 8
    executors = compiled.spec["deploymentSpec"]["executors"]
    assert executors["exec-trainer"]["container"]["resources"]["accelerator"] == {
        "resourceType": "google.com/tpu",
        "resourceCount": "4",
    }
    with_chips = [
        label for label, one in executors.items() if "accelerator" in one["container"].get("resources", {})
    ]
    assert with_chips == ["exec-trainer"]
    pods = compiled.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert [label for label, pod in pods.items() if "nodeSelector" in pod] == ["exec-trainer"]
    assert pods["exec-trainer"]["nodeSelector"] == {"labels": TPU_NODES}


def test_what_kubeflows_own_compiler_writes_of_chips_is_what_is_written_here(config):
    @kfp.dsl.component(base_image="python:3.11")
    def train():
        pass

    @kfp.dsl.pipeline(name="chips")
    def pipeline():
        train().set_accelerator_type("google.com/tpu").set_accelerator_limit(4)

    theirs = pipeline.pipeline_spec.deployment_spec["executors"]["exec-train"]["container"]["resources"]
    config = with_tpu(config, 4, TPU_NODES)
    compiled = compiling.compile_pipeline(compiling.settings_of(config), config)
    ours = compiled.spec["deploymentSpec"]["executors"]["exec-trainer"]["container"]["resources"]
    assert ours["accelerator"].items() <= dict(theirs["accelerator"]).items()


def test_a_slice_of_several_hosts_is_named(config):
    servers = "grpc://tpu-0:8470,grpc://tpu-1:8470"
    trainer = config.components["Trainer"].model_copy(
        update={"env": {"TPU_NAME": servers}, "accelerator": None}
    )
    config = config.model_copy(update={"components": {**config.components, "Trainer": trainer}})
    spec = compiling.compile_pipeline(compiling.settings_of(config), config).spec
    container = spec["deploymentSpec"]["executors"]["exec-trainer"]["container"]
    assert container["env"] == [{"name": "TPU_NAME", "value": servers}]
    assert "accelerator" not in container["resources"]


@pytest.mark.parametrize(
    ("count", "labels", "message"),
    [
        (4, {}, "components.Trainer.node_selector: google.com/tpu wants .*-accelerator and .*-topology too"),
        (4, {"cloud.google.com/gke-tpu-topology": "2x2"}, "google.com/tpu wants .*gke-tpu-accelerator too"),
        (4, TPU_NODES | {"cloud.google.com/gke-tpu-topology": "4"}, "'4' is not like 2x4 or 2x2x1"),
        (4, TPU_NODES | {"cloud.google.com/gke-tpu-topology": "4x4"}, "a slice of 4x4 has 16 chips, and 4 are"),
        (2, TPU_NODES, "a slice of 2x2 has 4 chips, and 2 are asked for. .* one pod"),
    ],
)
def test_chips_that_no_pod_can_have(config, count, labels, message):
    with pytest.raises(ValueError, match=message):
        with_tpu(config, count, labels)


@pytest.mark.parametrize("topology", ["1x1", "2x2", "2x4", "2x2x1"])
def test_slices_of_one_host(config, topology):
    chips = math.prod(map(int, topology.split("x")))
    with_tpu(config, chips, TPU_NODES | {"cloud.google.com/gke-tpu-topology": topology})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imagee": "x"}, "config.yaml: imagee: Extra inputs are not permitted"),
        ({"image": "enformer-keras"}, "config.yaml: image: .*pattern"),
        ({"components": {"Trainer": {"gpus": 1}}}, "components.Trainer.gpus: Extra inputs"),
        ({"components": {"Trainer": {"memory": "16 GB"}}}, "components.Trainer.memory: .*16 GB"),
        ({"pipeline_root": "/mnt/runs"}, "pipeline_root"),
        # Argo ends a run with "value '1.5' cannot be resolved to an int", at the first retry.
        ({"defaults": {"retries": {"factor": 1.5}}}, "defaults.retries.factor: .*integer.*1.5"),
        (
            {"defaults": {"retries": {"count": 9, "wait_s": 9999}}},
            "the waits alone, 5109489 s, reach deadline_s",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path, change, message):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(CONFIG.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_configuration_of_a_component_that_there_is_not(settings, config):
    with pytest.raises(ConfigError, match=r"there is no Trainr; the components are .*'Trainer'"):
        compiling.compile_pipeline(
            settings, config.model_copy(update={"components": {"Trainr": config.defaults}})
        )


def test_what_goes_to_a_cluster_of_ones_own(tmp_path):
    """`make cluster-test`: the tiny pipeline, for the claims there."""
    plan = proof.Plan(image="registry.example.com/enformer-keras:test", stamp="1")
    genome = PROJECT / "data" / plan.name
    try:
        package = proof.compile_tiny(plan, genome, tmp_path / "pipeline.yaml")
        assert {path.name for path in genome.iterdir()} >= {"dataset.yaml", "genome.fa", "genes.bed"}
    finally:
        for path in genome.iterdir():
            path.unlink()
        genome.rmdir()
    spec, platform = yaml.safe_load_all(package.file.read_text())
    assert rules.violations(spec, platform) == []
    assert f"/app/data/{plan.name}/dataset.yaml" in package.file.read_text()
    assert spec["root"]["dag"]["tasks"]["pusher"]["inputs"]["parameters"]["destination"] == {
        "runtimeValue": {"constant": f"/app/runs/{plan.name}/pushed"}
    }
    assert not (tmp_path / "parameters").exists()  # an image of this checkout needs no more than it has
