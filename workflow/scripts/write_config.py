"""Write the config of this run, defaults filled in."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

import json

import yaml

from deltaedit import files

if __name__ == "__main__":
    plain = json.loads(json.dumps(snakemake.params.config))
    with files.whole_file(snakemake.output.config) as path:
        path.write_text(yaml.safe_dump(plain, sort_keys=False))
