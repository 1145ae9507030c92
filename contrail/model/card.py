"""The README.md of a saved policy, in place of PEFT's empty model card.

After a stage `contrail.runs.card` takes its place.
"""

from __future__ import annotations

from pathlib import Path

from contrail.files import is_path

CARD = """---
library_name: peft
tags: [lora, contrail]{link}
---
# LoRA weights trained with contrail

| | |
| --- | --- |
| base model | `{base}` |
| the run's configuration | `../../config.yaml` |
| position in the stream, test scores, checksums | `state.json` |

{loading}
"""
LOADING = """Load it with PEFT:

```python
{imports}

{directory}base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, "path/to/this/directory")
```

Or evaluate it with contrail: `contrail eval path/to/this/directory ENVIRONMENT`"""


def loading(base: str, registered: bool = False) -> str:
    """Return how to load the weights, in Markdown.

    Args:
        base: the directory or hub id of the base model, or its registered name.
        registered: whether it is a registered name.
    """
    imports = ["from peft import PeftModel", "from transformers import AutoModelForCausalLM"]
    if registered:
        imports += ["", "from contrail.registry.plugins import load_plugins"]
    return LOADING.format(
        imports="\n".join(imports),
        directory=f"directory = load_plugins().models[{base!r}].value()\n" * registered,
        base="directory" if registered else repr(base),
    )


def write_card(directory: Path, base: str) -> None:
    """Write README.md into a PEFT directory.

    Args:
        directory: where the weights are.
        base: the base model: a directory, or a hub id.
    """
    link = "" if is_path(base) or Path(base).is_dir() else f"\nbase_model: {base}"
    text = CARD.format(base=base, link=link, loading=loading(base))
    (directory / "README.md").write_text(text)
