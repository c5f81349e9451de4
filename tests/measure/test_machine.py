"""The machine report: complete, repeatable, and without names of people or places."""

import getpass
import platform
from pathlib import Path

import psutil
import pytest
import torch

from labsupport.measure import machine
from labsupport.measure.machine import machine_report


@pytest.fixture(scope="module")
def report():
    return machine_report()


def test_says_what_a_reader_asks_for(report):
    values = report.set_index(["group", "item"])["value"]
    assert values["python", "version"] == platform.python_version()
    assert values["torch", "version"] == torch.__version__
    assert values["torch", "threads within an operation"] == str(torch.get_num_threads())
    assert values["processor", "logical cores"] == str(psutil.cpu_count())
    assert values["processor", "model"]
    for name in ("OpenMP", "compiler", "BLAS"):
        assert values["torch", name]


def test_is_a_tidy_table_of_texts(report):
    assert list(report.columns) == ["group", "item", "value"]
    assert not report.duplicated(["group", "item"]).any()
    assert report["value"].map(lambda value: isinstance(value, str) and bool(value.strip())).all()


def test_repeats(report):
    assert machine_report().equals(report)


def test_names_no_host_user_or_folder(report):
    text = " ".join(report["value"])
    assert str(Path.home()) not in text.split()
    assert str(Path.cwd()) not in text
    names = {platform.node(), getpass.getuser()} - {"root", "localhost"}
    assert not names & set(text.split())


def test_caches_fall_back_on_cpuinfo(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CACHES", tmp_path)
    monkeypatch.setattr(machine.cpuinfo, "get_cpu_info", lambda: {"l2_cache_size": 4096})
    assert machine.processor()["L2 cache"] == "4096"


def test_linux_caches(monkeypatch, tmp_path):
    index = tmp_path / "index0"
    index.mkdir()
    for name, text in {"level": "3\n", "type": "Unified\n", "size": "32768K\n"}.items():
        (index / name).write_text(text)
    monkeypatch.setattr(machine, "CACHES", tmp_path)
    assert machine.processor()["L3 unified cache"] == "32768 KiB"


def test_the_absent_package_is_left_out(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ["torch", "no-such-package"])
    assert list(machine.packages()) == ["torch"]


@pytest.mark.parametrize(
    ("flags", "int8", "bfloat16"),
    [
        ([], "none", "none"),
        (["avx2", "f16c"], "none", "none"),
        (["avx2", "avx_vnni"], "VNNI", "none"),
        (["avx512_vnni", "amx_int8", "avx512_bf16"], "AMX", "AVX-512"),
        (["asimddp", "bf16"], "dot product", "Arm"),
    ],
)
def test_instructions_for_few_bits_are_those_of_the_flags(monkeypatch, flags, int8, bfloat16):
    monkeypatch.setattr(machine.cpuinfo, "get_cpu_info", lambda: {"flags": flags})
    found = machine.low_precision()
    assert (found["int8"], found["bfloat16"]) == (int8, bfloat16)
    assert list(found) == ["int8", "bfloat16", "float16"]
