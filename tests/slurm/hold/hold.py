"""Documents that come when the test that runs the study makes the file `release`.

The job holds as many megabytes meanwhile as the file `take_mb` says.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset


def documents(**metadata: Any) -> dict[str, Dataset]:
    memory = Path("take_mb")
    taken = np.ones(int(memory.read_text()) << 17) if memory.exists() else None
    while not Path("release").exists():
        time.sleep(0.2)
    del taken
    rows = [{"prompt": "question :", "choices": ["a", "b"], "gold": 0}] * 4
    return {"test": Dataset.from_list(rows)}
