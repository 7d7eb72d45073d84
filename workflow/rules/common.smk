import os
import sys
from pathlib import Path

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT / "workflow" / "scripts"))
# torch's threads would otherwise spin while they wait, at the cost of every other job.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from deltaedit import config as configuration
from deltaedit import digest, figures, study, tasks

try:
    configuration.check(config, workflow.configfiles, PROJECT)
except configuration.ConfigError as error:
    raise SystemExit(f"error: {error}") from None


report: "../report/workflow.rst"


wildcard_constraints:
    pair="|".join(config["pairs"]),
    end="base|post",
    sweep="|".join([study.ENDS, *config["sweeps"]]),
    slice="[^/]+",
    suite="|".join(config["suites"]),
    loss="|".join(config["losses"]),
    figure="|".join(config["figures"]),


def code(script, *modules):
    """Hash of a script and the library modules it uses: Snakemake does not watch imports."""
    return digest.of_code(PROJECT / "workflow" / "scripts" / script, modules)


def variants(wildcards):
    """The variants of a slice, each with its options and the folder of its checkpoint."""
    return study.variants(config, wildcards.pair, wildcards.sweep, wildcards.slice)


def checkpoints(wildcards):
    """The folders that hold the checkpoints of a slice."""
    return study.folders(wildcards.pair, wildcards.sweep, wildcards.slice)


def loss_data(wildcards):
    """The data file of a loss, from the working folder or the project's."""
    data = config["losses"][wildcards.loss]["data"]
    return os.path.relpath(configuration.data_file(data, PROJECT))


def kept_variants():
    """The folders of the sweeps that the config keeps."""
    return study.kept(config)
