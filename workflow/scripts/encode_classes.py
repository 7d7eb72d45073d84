"""Encode the classes of a task by CLIP's text tower: the zero-shot head."""

from deltaedit import logs

logs.to_file(snakemake.log[0])  # before the imports that can fail

from safetensors.torch import save_file
from transformers import AutoTokenizer, CLIPModel

from deltaedit import files, image_tasks, zero_shot

if __name__ == "__main__":
    base = snakemake.input.base
    model = CLIPModel.from_pretrained(base).eval()
    captions = image_tasks.load(snakemake.wildcards.task).captions()
    head = zero_shot.head(model, AutoTokenizer.from_pretrained(base), captions)
    with files.whole_file(snakemake.output.head) as partial:
        save_file({"head": head.contiguous()}, partial)
