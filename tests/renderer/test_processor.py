"""What the kernel says of a processor, and what follows for training."""

from __future__ import annotations

import pytest

from renderer import processor
from renderer.processor import parse
from renderer.run import doctor

HASWELL = "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i7-4770\nflags\t\t: fpu sse4_2 avx avx2 fma\n"
SKYLAKE = "model name : Intel(R) Xeon(R) Gold 6148\nflags : avx2 avx512f avx512bw avx512_vnni\n"
GENOA = "model name : AMD EPYC 9654\nflags : avx2 avx512f avx512_bf16\n"
SAPPHIRE_RAPIDS = "model name : Intel(R) Xeon(R) Platinum 8480+\nflags : avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n"
ALTRA = "processor : 0\nFeatures : fp asimd atomics\nCPU part : 0xd0c\n"
GRAVITON3 = "processor : 0\nFeatures : fp asimd sve bf16 i8mm\n"


@pytest.mark.parametrize(
    ("cpuinfo", "sets", "bf16"),
    [
        (HASWELL, ["AVX2"], False),
        (SKYLAKE, ["AVX2", "AVX-512"], False),
        (GENOA, ["AVX2", "AVX-512", "AVX-512 BF16"], True),
        (SAPPHIRE_RAPIDS, ["AVX2", "AVX-512", "AVX-512 BF16", "AMX BF16"], True),
        (ALTRA, ["NEON"], False),
        (GRAVITON3, ["NEON", "SVE", "BF16"], True),
        ("", [], False),
    ],
)
def test_bf16_is_in_hardware_where_the_flags_say_so(cpuinfo, sets, bf16):
    found = parse(cpuinfo, {})
    assert found.instruction_sets == sets and found.computes_bf16 == bf16
    assert found.name and all(name in found.describe() for name in sets)


@pytest.mark.parametrize(
    ("environ", "bf16"),
    [
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core"}, False),
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
        ({"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, True),
    ],
)
def test_a_cap_on_the_library_of_convolutions_counts(environ, bf16):
    assert parse(SAPPHIRE_RAPIDS, environ).computes_bf16 == bf16


def test_the_doctor_names_instruction_sets_and_the_precision_that_follows(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    for text, words in ((HASWELL, ("i7-4770 (AVX2)", "32-true")), (GENOA, ("AVX-512 BF16", "bf16-mixed"))):
        processor.CPUINFO.write_text(text)
        finding = doctor._processor()
        assert finding.ok and all(word in finding.found for word in words)
