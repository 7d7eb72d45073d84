"""Turn a mergekit YAML into a study: `python workflow/scripts/import_mergekit.py merge.yaml`."""

import argparse
import textwrap
from pathlib import Path

import yaml

from deltaedit import mergekit
from deltaedit.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Turn a mergekit YAML into pairs and a sweep for config.yaml, printed with"
        " notes on what mergekit computes differently. Nothing is downloaded or merged."
    )
    parser.add_argument("merge", type=Path, help="the file that mergekit-yaml takes")
    path = parser.parse_args().merge
    try:
        study, notes = mergekit.study(path.read_text())
    except OSError as error:
        parser.exit(1, f"error: {path}: {error.strerror}\n")
    except UserError as error:
        parser.exit(1, f"error: {path}, {error}\n")
    for note in notes:
        print(textwrap.fill(note, 98, initial_indent="# - ", subsequent_indent="#   "))
    print(yaml.safe_dump(study, sort_keys=False, default_flow_style=None, width=98), end="")


if __name__ == "__main__":
    main()
