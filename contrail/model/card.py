"""The README.md of a checkpoint, in place of PEFT's empty model card."""

from __future__ import annotations

from pathlib import Path

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

Load them with PEFT:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({base!r})
model = PeftModel.from_pretrained(base, "path/to/this/directory")
```

Or evaluate them with contrail: `contrail eval path/to/this/directory ENVIRONMENT`
"""


def write_card(directory: Path, base: str) -> None:
    """Write README.md into a PEFT directory.

    Args:
        directory: where the weights are.
        base: the base model: a directory, or a hub id.
    """
    link = "" if Path(base).is_dir() else f"\nbase_model: {base}"
    (directory / "README.md").write_text(CARD.format(base=base, link=link))
