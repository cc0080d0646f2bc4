"""What pyproject.toml cannot say: a wheel carries what the page runs on, fetched by npm as the lock file says."""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WEB = Path(__file__).parent / "edge_gate" / "web"


class BuildWithRuntime(build_py):
    """Puts onnxruntime-web into edge_gate/web/vendor first, unless it is there; without npm the page says so."""

    def run(self) -> None:
        if not self.editable_mode and not (WEB / "vendor" / "NOTICE").exists():
            npm = shutil.which("npm")
            if npm is None:
                print("no npm here: this build's page will lack onnxruntime-web, and say so", file=sys.stderr)
            else:
                for command in (("ci", "--no-audit", "--no-fund", "--ignore-scripts"), ("run", "vendor")):
                    subprocess.run((npm, *command), cwd=WEB, check=True)
        super().run()


setup(cmdclass={"build_py": BuildWithRuntime})
