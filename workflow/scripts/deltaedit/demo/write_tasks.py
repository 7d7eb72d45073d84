"""Write the demo's task documents: python -m deltaedit.demo.write_tasks (in workflow/scripts)."""

import json

from deltaedit.demo import language
from deltaedit.tasks import SHIPPED


def main() -> None:
    for task, documents in language.task_documents(language.make_world()).items():
        lines = (json.dumps(document) + "\n" for document in documents)
        (SHIPPED / "demo" / f"{task}.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
