# SPDX-License-Identifier: Apache-2.0
"""NVRTC compiles a kernel once, a cache on disk keeps it, and what is missing is named."""

import functools
from pathlib import Path

import pytest

from children import run_child
from cuda_sources import DEFINES, SOURCE, write_sources
from halfbyte.cuda import cache
from halfbyte.cuda import compile as compiler


@pytest.fixture
def sources(tmp_path, monkeypatch, nvrtc):
    """A folder with one kernel and one header, which is where kernels are looked for."""
    folder = write_sources(tmp_path / "sources")
    monkeypatch.setattr(compiler, "SOURCES", folder)
    # The temporary folder of another test may hold the same kernel.
    fresh = functools.cache(cache._process_folder.__wrapped__)
    monkeypatch.setattr(cache, "_process_folder", fresh)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache's folder, not there yet."""
    chosen = tmp_path / "cache"
    monkeypatch.setenv("HALFBYTE_CACHE_DIR", str(chosen))
    return chosen


@pytest.fixture
def builds(monkeypatch):
    """What NVRTC is asked to compile, in a list of targets."""
    asked = []
    build = compiler.build_source

    def counted(source, name, defines, target):
        asked.append(target)
        return build(source, name, defines, target)

    monkeypatch.setattr(compiler, "build_source", counted)
    return asked


def files(folder):
    return sorted(folder.iterdir())


# ------------------------------------------------------------------------------- compiling


@pytest.mark.parametrize("target", ["sm_75", "sm_80", "sm_90", "sm_90a", "sm_120"])
def test_real_target_gives_machine_code(target, sources):
    assert compiler.build("scale", DEFINES, target).startswith(b"\x7fELF")


@pytest.mark.parametrize("target", ["compute_75", "compute_80", "compute_120"])
def test_virtual_target_gives_ptx(target, sources):
    text = compiler.build("scale", DEFINES, target).decode()
    assert f".target {target.replace('compute', 'sm')}" in text
    assert ".visible .entry scale(" in text


@pytest.mark.parametrize(("factor", "bits"), [(3, b"0f40400000"), (5, b"0f40A00000")])
def test_defines_reach_the_source(factor, bits, sources):
    assert bits in compiler.build("scale", DEFINES | {"FACTOR": factor}, "compute_80")


def test_multiplication_and_addition_are_not_contracted(sources):
    ptx = compiler.build("scale", DEFINES, "compute_80")
    assert b"fma" not in ptx
    assert b"mul.f32" in ptx or b"mul.rn.f32" in ptx
    assert b".ftz" not in ptx


def test_source_lines_are_told(sources):
    assert b".loc" in compiler.build("scale", DEFINES, "compute_80")


def test_any_text_may_include_the_headers(sources):
    ptx = compiler.build_source(SOURCE.replace("scale", "other"), "any.cu", DEFINES, "compute_80")
    assert b".visible .entry other(" in ptx


def test_header_in_the_working_directory_is_not_read(sources, tmp_path, monkeypatch):
    (tmp_path / "stray.cuh").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"stray\.cuh"):
        compiler.build_source('#include "stray.cuh"\n' + SOURCE, "any.cu", DEFINES, "sm_80")


@pytest.mark.parametrize("path", [None, "/nonexistent"])
def test_headers_of_cuda_are_not_needed(path, sources, monkeypatch):
    for name in ("CUDA_PATH", "CUDA_HOME"):
        monkeypatch.delenv(name, raising=False)
        if path is not None:
            monkeypatch.setenv(name, path)
    child = run_child("build_own_kernel", str(sources), module="cuda_sources")
    assert child.returncode == 0, child.stderr


def test_error_of_the_source_comes_with_the_log(sources):
    (sources / "wrong.cu").write_text('extern "C" __global__ void wrong() { nonsense(); }')
    with pytest.raises(RuntimeError, match=r"wrong\.cu for sm_80 .*FACTOR") as caught:
        compiler.build("wrong", DEFINES, "sm_80")
    assert 'wrong.cu(1): error: identifier "nonsense" is undefined' in str(caught.value)


def test_unknown_architecture_is_refused(sources):
    with pytest.raises(RuntimeError, match="sm_999"):
        compiler.build("scale", DEFINES, "sm_999")


# ------------------------------------------------------------------------------------ cache


def test_second_call_finds_what_the_first_one_compiled(sources, folder, builds):
    path = compiler.cubin("scale", DEFINES, 80)
    assert compiler.cubin("scale", dict(reversed(DEFINES.items())), 80) == path
    assert builds == ["sm_80"]
    assert files(folder) == [path]
    assert path.read_bytes() == compiler.build("scale", DEFINES, "sm_80")


def add_comment(path):
    path.write_text(path.read_text() + "// changed\n")


@pytest.mark.parametrize("name", ["scale.cu", "helpers.cuh"])
def test_changed_file_is_compiled_anew(name, sources, folder, builds):
    compiler.cubin("scale", DEFINES, 80)
    add_comment(sources / name)
    compiler.cubin("scale", DEFINES, 80)
    assert len(builds) == 2


def test_new_header_is_compiled_anew(sources, folder, builds):
    compiler.cubin("scale", DEFINES, 80)
    (sources / "more.cuh").write_text("")
    compiler.cubin("scale", DEFINES, 80)
    assert len(builds) == 2


@pytest.mark.parametrize("changed", [{"FACTOR": 4}, {"TYPE": "double"}, {"MORE": 1}], ids=str)
def test_other_defines_are_compiled_by_themselves(changed, sources, folder, builds):
    compiler.cubin("scale", DEFINES, 80)
    compiler.cubin("scale", DEFINES | changed, 80)
    assert len(builds) == 2


def test_other_architecture_is_compiled_by_itself(sources, folder, builds):
    assert compiler.cubin("scale", DEFINES, 80) != compiler.cubin("scale", DEFINES, 90)
    assert builds == ["sm_80", "sm_90"]


def test_other_options_are_compiled_by_themselves(sources, folder, builds, monkeypatch):
    compiler.cubin("scale", DEFINES, 80)
    monkeypatch.setattr(compiler, "OPTIONS", (*compiler.OPTIONS, "-ftz=true"))
    compiler.cubin("scale", DEFINES, 80)
    assert len(builds) == 2


def test_other_nvrtc_compiles_for_itself(sources, folder, builds, monkeypatch):
    compiler.cubin("scale", DEFINES, 80)
    monkeypatch.setattr(compiler, "_version", lambda nvrtc: "99.1")
    compiler.cubin("scale", DEFINES, 80)
    assert len(builds) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: b"",
        lambda content: content[:200] + b"?" + content[201:],
        lambda content: bytes(len(content)),
    ],
    ids=["one byte short", "cut short", "empty", "one byte changed", "zeros"],
)
def test_damaged_file_is_never_used(damage, sources, folder, builds):
    path = compiler.cubin("scale", DEFINES, 80)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert compiler.cubin("scale", DEFINES, 80).read_bytes() == content
    assert len(builds) == 2


def test_file_that_was_removed_is_compiled_anew(sources, folder, builds):
    compiler.cubin("scale", DEFINES, 80).unlink()
    assert compiler.cubin("scale", DEFINES, 80).exists()


def test_unfinished_file_of_another_process_does_not_matter(sources, folder, builds):
    folder.mkdir()
    path = compiler.cubin("scale", DEFINES, 80)
    left = path.with_name(path.name.partition("-")[0] + ".unfinished")
    path.rename(left)
    assert compiler.cubin("scale", DEFINES, 80) == path
    assert files(folder) == sorted([left, path])


def test_no_unfinished_file_is_left(sources, folder, monkeypatch):
    replace = Path.replace

    def fail_in_the_folder(self, target):
        if self.parent == folder:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_in_the_folder)
    path = cache.store("key", b"content")
    assert path.parent != folder
    assert files(folder) == []


def unwritable(tmp_path):
    """A folder that cannot be made: its parent is a file, which binds the superuser, too."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "cache"


def test_folder_that_cannot_be_written_does_not_matter(sources, builds, tmp_path, monkeypatch):
    monkeypatch.setenv("HALFBYTE_CACHE_DIR", str(unwritable(tmp_path)))
    path = compiler.cubin("scale", DEFINES, 80)
    assert path.read_bytes() == compiler.build("scale", DEFINES, "sm_80")
    asked = len(builds)
    assert compiler.cubin("scale", DEFINES, 80) == path
    assert len(builds) == asked


def test_temporary_folder_is_removed_at_the_end_of_the_process(sources, tmp_path):
    child = run_child(
        "print_cubin",
        str(sources),
        module="cuda_sources",
        HALFBYTE_CACHE_DIR=str(unwritable(tmp_path)),
        TMPDIR=str(tmp_path),
    )
    assert child.returncode == 0, child.stderr
    path = Path(child.stdout)
    assert path.parent.parent == tmp_path
    assert not path.parent.exists()


def test_forked_process_does_not_remove_the_folder_of_its_parent(sources, tmp_path):
    child = run_child(
        "fork_after_a_temporary_cubin",
        str(sources),
        module="cuda_sources",
        HALFBYTE_CACHE_DIR=str(unwritable(tmp_path)),
        TMPDIR=str(tmp_path),
    )
    assert child.returncode == 0, child.stderr


def test_processes_that_compile_at_once_agree(sources, folder):
    child = run_child("compile_in_processes", str(sources), 3, module="cuda_sources")
    assert child.returncode == 0, child.stderr
    paths = set(child.stdout.split())
    assert len(paths) == 1
    assert [str(path) for path in files(folder)] == [*paths]


def test_next_process_finds_what_an_earlier_one_compiled(sources, folder, builds):
    child = run_child("print_cubin", str(sources), module="cuda_sources")
    assert child.returncode == 0, child.stderr
    assert str(compiler.cubin("scale", DEFINES, 80)) == child.stdout
    assert builds == []


@pytest.mark.parametrize(
    ("variables", "want"),
    [
        ({"HALFBYTE_CACHE_DIR": "/a/b"}, "/a/b"),
        ({"HALFBYTE_CACHE_DIR": "~/b"}, "/home/someone/b"),
        ({"HALFBYTE_CACHE_DIR": "b"}, f"{Path.cwd()}/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/halfbyte"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/someone/.cache/halfbyte"),
        ({"HALFBYTE_CACHE_DIR": "", "XDG_CACHE_HOME": ""}, "/home/someone/.cache/halfbyte"),
    ],
    ids=str,
)
def test_folder_is_the_chosen_one_or_in_the_cache_of_the_user(variables, want, monkeypatch):
    for name in ("HALFBYTE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache._folders()[0]) == want


# -------------------------------------------------------------------------- old, new, missing


@pytest.mark.parametrize("capability", [70, 61, 35])
def test_device_older_than_turing_is_refused(capability, sources, folder):
    text = rf"compute capability {capability // 10}\.{capability % 10}; need 7\.5 \(Turing\)"
    with pytest.raises(RuntimeError, match=text):
        compiler.cubin("scale", DEFINES, capability)


@pytest.mark.parametrize(
    ("capability", "supported", "want"),
    [
        (75, (75, 80), "sm_75"),
        (86, (75, 80, 86), "sm_86"),
        (89, (75, 80, 86, 90), "sm_86"),
        (103, (75, 90, 100, 120), "sm_100"),
        (110, (75, 90, 100), "compute_100"),
        (130, (75, 120, 121), "compute_121"),
        (80, (50, 70, 75), "compute_75"),
    ],
)
def test_newer_device_than_nvrtc_knows_gets_what_it_can_run(capability, supported, want):
    assert compiler._target(capability, supported) == want


def test_nvrtc_without_an_architecture_for_the_device_says_which_it_has():
    with pytest.raises(RuntimeError, match=r"8\.0, 9\.0; the GPU has 7\.5"):
        compiler._target(75, (80, 90))


def test_missing_cupy_is_named_with_what_to_install():
    child = run_child("build_without", "cupy", module="cuda_sources")
    assert child.returncode == 1
    assert 'ImportError: a GPU needs CuPy: pip install "halfbyte[cuda13]"' in child.stderr


def test_missing_nvrtc_is_named_with_what_to_install(nvrtc):
    child = run_child("build_without_nvrtc", module="cuda_sources")
    assert child.returncode == 1
    assert 'ImportError: a GPU needs NVRTC: pip install "halfbyte[cuda1' in child.stderr


def test_old_nvrtc_is_refused_with_what_to_install(nvrtc, monkeypatch):
    monkeypatch.setattr("cupy.cuda.nvrtc.getVersion", lambda: (12, 6))
    with pytest.raises(
        ImportError, match=r'12\.6; need 12\.8 or later: pip .*"halfbyte\[cuda12\]"'
    ):
        compiler.build_source("", "empty.cu", {}, "sm_80")
