"""Writes ../grafana/*.json. With --check, reports which files differ from what this code writes.

    python3 dashboards/generate [--check]
"""

import json
import sys
from pathlib import Path

import blocking
import chat
import fleet
import overview
import tasks

FOLDER = Path(__file__).resolve().parent.parent / "grafana"


def main():
    outdated = 0
    for module in [overview, blocking, tasks, chat, fleet]:
        path = FOLDER / f"{module.__name__}.json"
        text = json.dumps(module.board().json(), indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            outdated += 1
            print(f"{path} differs from what dashboards/generate writes: run python3 dashboards/generate", file=sys.stderr)
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
