"""Write the demo's documents: python -m deltaedit.demo.write_tasks (in workflow/scripts)."""

import json
from dataclasses import asdict

from deltaedit import image_tasks
from deltaedit.demo import chronicle, language, vision
from deltaedit.tasks import SHIPPED


def main() -> None:
    found = {
        **language.task_documents(language.make_world()),
        "opinion": language.opinion_documents(),
        "preferences": language.preference_documents(),
        "chronicle": chronicle.question_documents(),
        "chronicle_text": chronicle.chronicle(),
        "last": chronicle.last_documents(),
    }
    for task, documents in found.items():
        lines = (json.dumps(document) + "\n" for document in documents)
        (SHIPPED / "demo" / f"{task}.jsonl").write_text("".join(lines))
    for name, task in vision.TASKS.items():
        fields = {key: value for key, value in asdict(task).items() if value}
        file = image_tasks.FOLDER / f"demo_{name}.json"
        file.write_text(json.dumps(fields, indent=2) + "\n")


if __name__ == "__main__":
    main()
