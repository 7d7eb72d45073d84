"""Write the demo's documents: python -m deltaedit.demo.write_tasks (in workflow/scripts)."""

import json

from deltaedit.demo import language
from deltaedit.tasks import SHIPPED


def main() -> None:
    found = {
        **language.task_documents(language.make_world()),
        "opinion": language.opinion_documents(),
        "preferences": language.preference_documents(),
    }
    for task, documents in found.items():
        lines = (json.dumps(document) + "\n" for document in documents)
        (SHIPPED / "demo" / f"{task}.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
