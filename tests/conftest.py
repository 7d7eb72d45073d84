"""Tiny checkpoints, made in milliseconds, that any Hugging Face tool loads; a study of them."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from deltaedit.demo import language, train_language

from .endpoint import Endpoint
from .project import Project, copy_project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the demos, which take longest; tests of each are one file, hence one process."""
    demos = {"demo", "param_delta"}
    items.sort(key=lambda item: demos.isdisjoint(item.fixturenames))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_language.make_tokenizer(language.make_world())


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory, tokenizer):
    """Return a function that saves base and post of a tiny Llama and returns their folders."""

    def make(
        dtype=torch.float32, shard=None, tied=False, seed=0, hidden_size=16, intermediate_size=32
    ) -> tuple[Path, Path]:
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=tied,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        root = tmp_path_factory.mktemp("pair")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config).to(dtype)
            for end in ("base", "post"):
                options = {} if shard is None else {"max_shard_size": shard}
                model.save_pretrained(root / end, **options)
                tokenizer.save_pretrained(root / end)
                with torch.no_grad():
                    for parameter in model.parameters():
                        step = torch.randn(parameter.shape) * 0.01
                        parameter.copy_(parameter.float() + step)
        return root / "base", root / "post"

    return make


@pytest.fixture(scope="session")
def tiny_config(tiny_pair) -> dict:
    """A study of seconds: a random model of 20 thousand weights from a local folder."""
    base, post = tiny_pair()
    return {
        "seed": 0,
        "pairs": {
            "tiny": {
                "kind": "causal_lm",
                "base": {"source": "path", "path": str(base)},
                "post": {"source": "path", "path": str(post)},
            }
        },
        "suites": {
            "demo": {
                "tasks": {
                    "demo_math": {"metric": "exact_match", "filter": "strict"},
                    "demo_truth": {"metric": "acc"},
                },
                "batch_size": 8,
                "limit": 8,
            }
        },
        "losses": {
            "math": {
                "kind": "next_token",
                "data": "workflow/tasks/demo/math.jsonl",
                "count": 8,
                "batch_size": 8,
            }
        },
        "sweeps": {
            "dare": {
                "method": "dare",
                "grid": {"drop_rate": [0.1, 0.5], "rescale": [True, False]},
                "split_by": ["drop_rate"],
            },
            "expo": {"method": "expo", "grid": {"alpha": [0.2]}, "formats": ["checkpoint"]},
        },
        "runs": [
            {"pair": "tiny", "sweeps": ["dare", "expo"], "suites": ["demo"], "losses": ["math"]}
        ],
        "figures": {
            "accuracy": {
                "kind": "accuracy_by_drop_rate",
                "pair": "tiny",
                "sweeps": ["dare"],
                "suite": "demo",
            },
            "terms": {"kind": "loss_terms", "pair": "tiny", "sweeps": ["dare"], "loss": "math"},
        },
    }


@pytest.fixture(scope="session")
def make_project(tmp_path_factory):
    """Return a function that copies the project into a folder of its own."""
    return lambda: copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A copy of the project in which nothing has run."""
    return copy_project(tmp_path)


@pytest.fixture
def endpoint():
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()
