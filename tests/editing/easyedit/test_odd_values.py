"""Values in EasyEdit's files that Python cannot hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from editing.easyedit import read_hparams
from editing.errors import BadData


@pytest.mark.parametrize("line", ["model_name: 2024-13-45", f"v_lr: {'9' * 400}"])
def test_values_that_python_cannot_hold_are_one_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "h.yaml"
    file.write_text(
        f"alg_name: ROME\nlayers: [3]\nfact_token: subject_last\nrewrite_module_tmp: h.mlp.c_proj\n{line}\n"
    )
    with pytest.raises(BadData):
        read_hparams(file, 12)
