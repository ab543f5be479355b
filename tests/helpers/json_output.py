"""What a command prints with --json."""

import json


def json_of(output: str) -> dict:
    """The one JSON object that standard output holds, and nothing else."""
    assert output.count("\n") == 1
    return json.loads(output)
