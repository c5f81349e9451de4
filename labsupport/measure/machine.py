"""What the measurements ran on: processor, memory, accelerator, system, versions, threads.

It names no host, user or folder, and nothing that changes from one minute to the next, so that a
report can be published and compared.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cpuinfo
import pandas as pd
import psutil
import torch

PACKAGES = ["torch", "torchvision", "numpy", "pandas", "scikit-learn", "matplotlib", "thop"]
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Lines of torch's build report that name a library, and what we call it.
LIBRARIES = {
    "compiler": r"^\s*- ((?:GCC|clang|MSVC|Clang)\b.*)$",
    "MKL": r"^\s*- (Intel\(R\).*Math Kernel Library.*?)(?: for .*)?$",
    "oneDNN": r"^\s*- .*MKL-DNN (v\S+)",
    "OpenMP": r"^\s*- (OpenMP.*)$",
    "BLAS": r"BLAS_INFO=(\w+)",
    "LAPACK": r"LAPACK_INFO=(\w+)",
    "NNPACK": r"USE_NNPACK=(\w+)",
    "FBGEMM": r"(USE_FBGEMM)",
}

# Flags of processors, by the instructions that multiply numbers of few bits, the best first.
LOW_PRECISION = {
    "int8": {
        "AMX": {"amx_int8"},
        "VNNI": {"avx512_vnni", "avx512vnni", "avx_vnni", "avxvnni"},
        "I8MM": {"i8mm"},
        "dot product": {"asimddp"},
    },
    "bfloat16": {"AMX": {"amx_bf16"}, "AVX-512": {"avx512_bf16"}, "Arm": {"bf16"}},
    "float16": {"AMX": {"amx_fp16"}, "AVX-512": {"avx512_fp16"}, "Arm": {"asimdhp"}},
}


def machine_report() -> pd.DataFrame:
    """The machine and its software as a table: group, item, value (text)."""
    groups = {
        "processor": processor(),
        "memory": {"RAM": f"{psutil.virtual_memory().total / 2**30:.1f} GiB"},
        "accelerator": accelerators(),
        "system": {"OS": platform.system(), "release": platform.release(), "name": _os_name()},
        "python": python(),
        "torch": torch_build(),
        "packages": packages(),
    }
    rows = [
        (group, item, value) for group, items in groups.items() for item, value in items.items()
    ]
    return pd.DataFrame(rows, columns=["group", "item", "value"])


def processor() -> dict[str, str]:
    """Model, cores, caches and vector instructions of the CPU."""
    info = cpuinfo.get_cpu_info()
    return {
        "model": str(info.get("brand_raw", platform.machine())),
        "architecture": platform.machine(),
        "physical cores": str(psutil.cpu_count(logical=False) or "unknown"),
        "logical cores": str(psutil.cpu_count() or "unknown"),
        "cores we may use": str(_usable_cores()),
        **(dict(_sysfs_caches()) or _cpuinfo_caches(info)),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
    }


def low_precision() -> dict[str, str]:
    """By type of number, the processor's best instructions that multiply it, or "none".

    The types are int8, bfloat16 and float16. Without such instructions a float of 16 bits is
    multiplied as one of 32; x86 adds two products of bytes in 16 bits, which can overflow.
    """
    flags = set(cpuinfo.get_cpu_info().get("flags", ()))
    return {
        kind: next((name for name, any_of in known.items() if any_of & flags), "none")
        for kind, known in LOW_PRECISION.items()
    }


def accelerators() -> dict[str, str]:
    """Each CUDA device with CUDA's and cuDNN's version; one line that says so without any."""
    if not torch.cuda.is_available():
        return {"GPU": "none"}
    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return {
        **{
            f"GPU {i}": f"{d.name}, {d.total_memory / 2**30:.1f} GiB" for i, d in enumerate(devices)
        },
        "CUDA": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def python() -> dict[str, str]:
    """Python's version, build and compiler."""
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
    }


def torch_build() -> dict[str, str]:
    """Torch's version, its libraries as it was built, and its thread counts now."""
    report = torch.__config__.show()
    found = {name: re.search(line, report, re.MULTILINE) for name, line in LIBRARIES.items()}
    return {
        "version": torch.__version__,
        **{name: match[1].replace("USE_FBGEMM", "ON") for name, match in found.items() if match},
        "threads within an operation": str(torch.get_num_threads()),
        "threads between operations": str(torch.get_num_interop_threads()),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that the figures depend on, where installed."""
    return {name: number for name in PACKAGES if (number := _version(name))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _os_name() -> str:
    """The distribution or the version of the system, as people call it."""
    if platform.system() == "Linux":
        try:
            return platform.freedesktop_os_release()["PRETTY_NAME"]
        except (OSError, KeyError):
            return "unknown"
    return platform.mac_ver()[0] or platform.version()


def _usable_cores() -> int:
    # A container or a batch system may allow fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _sysfs_caches() -> Iterator[tuple[str, str]]:
    """Caches of the first core as Linux lists them; py-cpuinfo is wrong about L3 there."""
    for index in sorted(CACHES.glob("index*")):
        level, kind, size = (
            (index / name).read_text().strip() for name in ("level", "type", "size")
        )
        yield f"L{level} {kind.lower()} cache", size.replace("K", " KiB")


def _cpuinfo_caches(info: dict[str, object]) -> dict[str, str]:
    names = {"l1_data_cache_size": "L1 data", "l2_cache_size": "L2", "l3_cache_size": "L3"}
    return {f"{name} cache": str(info[key]) for key, name in names.items() if key in info}


def peak_memory(pid: int) -> int | None:
    """The most resident memory a process has had, in bytes; None where the system does not say.

    Linux keeps it, so nothing need watch the process while it may be clocking.
    """
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
