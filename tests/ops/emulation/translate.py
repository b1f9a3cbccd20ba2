"""CUDA sources as C++ for the emulation: launches, shared variables, and the bindings' device."""

import re

NAMESPACE = "tetragan_emulated"
_KERNEL = re.compile(r"([A-Za-z_]\w*(?:<(?:[^<>;(){}]|<[^<>;(){}]*>)*>)?)<<<")
_SHARED = re.compile(r"__shared__\s+([\w:]+)\s+([^;]+);")


def kernel_source(text: str) -> str:
    """A .cu file or a header with kernels: `kernel<<<…>>>(…)` becomes emulation::launch, `__shared__` a reference."""
    while match := _KERNEL.search(text):
        configuration_end = text.index(">>>", match.end())
        call_end = _closing(text, configuration_end + 3)
        configuration, call = text[match.end() : configuration_end], text[configuration_end + 3 : call_end]
        name = match[1].partition("<")[0]
        launch = f'emulation::launch("{name}", {configuration}, [&] {{ {match[1]}{call}; }})'
        text = text[: match.start()] + launch + text[call_end:]
    return _SHARED.sub(_declare_shared, text)


def binding_source(text: str) -> str:
    """A CUDA binding that registers CPU kernels in the namespace of the emulation."""
    text = text.replace('"common/cuda.h"', '"on_device.h"').replace("torch::stable::empty_like(", "poisoned_like(")
    return text.replace("STABLE_TORCH_LIBRARY_IMPL(tetragan, CUDA,", f"STABLE_TORCH_LIBRARY_IMPL({NAMESPACE}, CPU,")


def _closing(text: str, start: int) -> int:
    """The index just past the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i + 1
    raise ValueError("unbalanced brackets in a launch")


def _declare_shared(match: re.Match[str]) -> str:
    lines = []
    for part in match[2].split(","):
        found = re.fullmatch(r"\s*(\w+)((?:\[[^\]]*\])*)\s*", part)
        assert found is not None, f"cannot translate {match[0]}"
        lines.append(f"auto& {found[1]} = emulation::shared<{match[1]}{found[2]}>(__COUNTER__);")
    return " ".join(lines)
