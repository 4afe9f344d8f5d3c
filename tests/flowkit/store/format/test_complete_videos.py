from flowkit.store.format.complete_videos import CompleteVideos


def part(id, number, last, rows, meta):
    head = {"id": id, "part": number, "last": last, "rows": rows}
    return head | (meta.to_dict() if last else {})


def test_complete_videos(stores):
    found = CompleteVideos()
    found.add([part("a", 0, True, 2, stores.meta("a", 2)), part("b", 0, False, 3, None)])
    found.add([part("b", 1, False, 4, None)])
    found.add([part("b", 2, True, 1, stores.meta("b", 8)), part("c", 0, False, 5, None)])
    found.add([part("c", 0, True, 6, stores.meta("c", 6))])  # abandoned, and begun again
    found.add([part("d", 1, True, 1, stores.meta("d", 2))])  # its first part is missing
    found.add([part("e", 0, False, 1, None)])
    found.add([])
    found.add([part("e", 1, True, 1, stores.meta("e", 2))])  # a batch between was damaged
    committed = {v.id: (v.batch, v.batches, v.first_row, v.rows) for v in found.videos}
    assert committed == {"a": (0, 1, 0, 2), "b": (0, 3, 2, 8), "c": (3, 1, 0, 6)}
    assert [[tuple(part) for part in parts] for parts in found.parts] == [
        [(0, 0, 0, 2)],
        [(0, 1, 2, 3), (1, 0, 0, 4), (2, 0, 0, 1)],
        [(3, 0, 0, 6)],
    ]
    assert found.rows == 24
