"""What this processor computes in hardware, as the kernel tells it; no torch needed.

oneDNN, which does the convolutions of torch on a CPU, can be told to use less than the processor has
(ONEDNN_MAX_CPU_ISA, https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CPUINFO: Final = Path("/proc/cpuinfo")
INSTRUCTION_SETS: Final = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "sve": "SVE",
    "bf16": "BF16",
}
"""Those that decide how fast a CPU trains: the kernel's flag -> the name that vendors use. The last three: ARM."""
BF16: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
CAPS_WITHOUT_BF16: Final = frozenset(
    {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
)


@dataclass(frozen=True)
class Processor:
    """name: as the kernel has it. flags: the kernel's. cap: what oneDNN is held to, "" = nothing."""

    name: str
    flags: frozenset[str]
    cap: str = ""

    @property
    def instruction_sets(self) -> list[str]:
        """Names of those that matter for training."""
        return [name for flag, name in INSTRUCTION_SETS.items() if flag in self.flags]

    @property
    def computes_bf16(self) -> bool:
        """Whether products in bfloat16 are done in hardware; emulated they are many times slower than float32."""
        return bool(BF16 & self.flags) and self.cap not in CAPS_WITHOUT_BF16

    def describe(self) -> str:
        """For people: name, instruction sets, cap."""
        sets = ", ".join(self.instruction_sets) or "none of " + ", ".join(INSTRUCTION_SETS.values())
        return f"{self.name} ({sets}{f'; oneDNN held to {self.cap}' if self.cap else ''})"


def this_processor() -> Processor:
    """That of this machine. Where the kernel has no /proc/cpuinfo, one without any of the instruction sets."""
    text = CPUINFO.read_text("utf-8", "replace") if CPUINFO.is_file() else ""
    return parse(text, os.environ)


def parse(cpuinfo: str, environ: Mapping[str, str]) -> Processor:
    """cpuinfo: text of /proc/cpuinfo, of x86 ("flags") or ARM ("Features"). environ: for oneDNN's cap."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())  # of the first core; the others are like it
    flags = frozenset(fields.get("flags", fields.get("Features", "")).split())
    cap = environ.get("ONEDNN_MAX_CPU_ISA", environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    return Processor(fields.get("model name") or platform.machine(), flags, "" if cap in ("ALL", "DEFAULT") else cap)
