"""What a sweep says of cards that cannot run its job."""

import json
from collections.abc import Callable
from dataclasses import replace

from perfsim.core.workload import PRECISIONS
from perfsim.report.answer import Answer, json_of
from perfsim.report.refused import refused_cards, refused_lines
from perfsim.search.sweep import Sweep


def test_refused_cards_are_counted_and_named(made: Callable[..., Sweep]) -> None:
    assert refused_lines(made()) == []
    sweep = made()
    sweep = replace(sweep, workload=replace(sweep.workload, precision=PRECISIONS["amp-bf16"]))
    assert refused_cards(sweep) == {"Tesla T4": ("bf16",), "GeForce GTX 1080 Ti": ("bf16",)}
    assert refused_lines(sweep) == ["refused: 2 of 3 cards, whatever the plan: no bf16 on T4, GTX 1080 Ti"]
    told = json.loads(json_of([Answer.of("x", sweep)]))["refused"]
    assert told[0] == {"task": "finetune", "gpu_name": "Tesla T4", "lacking": ["bf16"]}


def test_unlike_lacks_are_told_apart(made: Callable[..., Sweep]) -> None:
    sweep = made()
    stack = replace(sweep.software, fusion="compiled", attention="cudnn")
    (line,) = refused_lines(replace(sweep, software=stack))
    assert line.endswith("no cudnn-attention on T4; no cudnn-attention and no torch-compile on GTX 1080 Ti")
