# SPDX-License-Identifier: Apache-2.0
"""The package as users meet it: its names, its version, and how little importing it loads."""

import inspect
import re
from importlib import metadata, resources
from pathlib import Path

import pytest

import children
import halfbyte

README = Path(__file__).parents[1] / "README.md"
PUBLIC = (
    "SGD",
    "Adam",
    "AdamW",
    "GradScaler",
    "HistogramObserver",
    "Int4Array",
    "MinMaxObserver",
    "MovingAverageObserver",
    "PackedMatrix",
    "QuantizedTensor",
    "clip_grad_norm",
    "dequantize",
    "fake_quantize",
    "fake_quantize_backward",
    "formats",
    "gemm_f16",
    "gemm_int",
    "get_num_threads",
    "linear",
    "prepack",
    "quantize",
    "requantize",
    "set_num_threads",
    "to_f16",
    "to_f32",
    "unscale",
    "warm_up",
)


def test_nothing_else_is_public():
    assert set(halfbyte.__all__) == set(PUBLIC)


def test_completion_shows_what_is_public():
    assert set(dir(halfbyte)) == {*PUBLIC, "__version__"}
    assert set(dir(halfbyte.formats)) == set(halfbyte.formats.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_name_is_public(name):
    assert name in halfbyte.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name):
    assert getattr(halfbyte, name).__doc__


@pytest.mark.parametrize("name", halfbyte.formats.__all__)
def test_name_of_formats_has_a_docstring(name):
    assert getattr(halfbyte.formats, name).__doc__


def table_of_readme():
    """Each call in README's table of functions whose arguments it writes out: name, signature."""
    table = README.read_text().split("| function | returns |")[1].split("\n\n")[0]
    cells = [
        re.split(r"(?<!\\)\|", line)[1] for line in table.splitlines() if line.startswith("| `")
    ]
    calls = re.findall(r"`([\w.]+)(\(.*?\))`", " ".join(cells))
    return [(name, signature) for name, signature in calls if "..." not in signature]


def named(name):
    """What README calls by this name, which may be one of `formats` beside another."""
    found = halfbyte
    for part in name.split("."):
        found = getattr(found, part, None) or getattr(halfbyte.formats, part)
    return found


@pytest.mark.parametrize(("name", "written"), table_of_readme())
def test_readme_has_the_signature(name, written):
    signature = inspect.signature(named(name))
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = str(inspect.Signature(bare)).replace("'", '"')
    assert re.sub(r"<class \"numpy\.(\w+)\">", r"\1", text) == written


def test_readme_has_every_public_name():
    written = {name.rpartition(".")[2] for name, _ in table_of_readme()}
    missing = {*PUBLIC, *halfbyte.formats.__all__} - {"formats"} - written
    # Made by functions, or written with an ellipsis there.
    assert missing == {
        *("PackedMatrix", "MatMulNBits", "OnnxTensors"),
        *("fake_quantize_backward", "GradScaler"),
    }


def examples_of_readme():
    """README with nothing but its Python in it, at the lines where it is."""
    lines, inside = [], False
    for line in README.read_text().splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```python" or (inside and not fence)
    return lines


def test_examples_of_readme_run_one_after_the_other():
    lines = examples_of_readme()
    assert any("gemm_int(" in line for line in lines)
    exec(compile("\n".join(lines), README, "exec"), {})


@pytest.mark.parametrize("heavy", ["numba", "llvmlite", "cupy", "torch", "halfbyte_reference"])
def test_import_does_not_load(heavy):
    child = children.run_child("print_modules_after_import", "halfbyte")
    assert child.returncode == 0, child.stderr
    assert heavy not in child.stdout.split()


@pytest.mark.parametrize("name", ["halfbyte", "numba", "torch", "scipy"])
def test_reference_does_not_load(name):
    child = children.run_child("print_modules_after_import", "halfbyte_reference")
    assert child.returncode == 0, child.stderr
    assert name not in child.stdout.split()


def test_package_is_typed():
    assert (resources.files("halfbyte") / "py.typed").is_file()


def test_version_is_the_distributions():
    try:
        installed = metadata.version("halfbyte")
    except metadata.PackageNotFoundError:
        pytest.skip("no distribution named halfbyte is installed")
    assert halfbyte.__version__ == installed
