"""The digest of a script changes with, and only with, the code that it stands on."""

import pytest

from deltaedit import digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    sources = {
        "deltaedit/__init__.py": "",
        "deltaedit/a.py": "from deltaedit import b\n",
        "deltaedit/b.py": "x = 1\n",
        "deltaedit/apart.py": "y = 1\n",
        "deltaedit/edits/__init__.py": "import importlib\n",
        "deltaedit/edits/dare.py": "from deltaedit.apart import y\n",
        "deltaedit/edits/expo.py": "z = 1\n",
        "deltaedit/logs.py": "w = 1\n",
        "script.py": "from deltaedit import edits, logs\nfrom deltaedit.a import x\n",
    }
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(digest, "PACKAGE", tmp_path / "deltaedit")
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("script.py", True),
        ("deltaedit/a.py", True),
        ("deltaedit/b.py", True),  # through a
        ("deltaedit/edits/__init__.py", True),
        ("deltaedit/edits/dare.py", True),  # named as extra
        ("deltaedit/apart.py", True),  # through dare
        ("deltaedit/edits/expo.py", False),
        ("deltaedit/unused.py", False),
        ("deltaedit/logs.py", False),  # imported, but no result depends on it
    ],
)
def test_the_digest_follows_imports(package, edited, changes):
    before = digest.of_code(package / "script.py", ["edits.dare"])
    path = package / edited
    path.write_text((path.read_text() if path.exists() else "") + "more = 1\n")
    assert (digest.of_code(package / "script.py", ["edits.dare"]) != before) is changes


def test_every_script_s_library_imports_are_found():
    scripts = digest.PACKAGE.parent
    for script in scripts.glob("*.py"):
        assert len(digest.of_code(script)) == 12
