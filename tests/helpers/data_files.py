"""Small files of data."""

CONTENT = b"1 5 6 7\n2 8 9 8 9\n"


def put(folder, content=CONTENT, name="Tiny.txt"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name
