import json

from hypothesis import given
from hypothesis import strategies as st

from flowkit.interchange.formats.shards import (
    RECORDS,
    ShardRecord,
    order_ids,
    plan_shards,
    read_records,
    write_record,
)

videos = st.lists(
    st.tuples(st.text(max_size=6), st.sampled_from(["train", "test", "a.b"]), st.integers(0, 50)),
    max_size=40,
    unique_by=lambda video: video[0],
)


@given(videos, st.integers(1, 120))
def test_each_video_is_in_one_shard_of_its_partition(videos, limit):
    sizes = {id: size for id, _, size in videos}
    partitions = {id: partition for id, partition, _ in videos}
    shards = plan_shards(videos, limit, [])
    assert sorted(id for shard in shards for id in shard.ids) == sorted(sizes)
    assert len({shard.name for shard in shards}) == len(shards)
    order = [id for id, _, _ in videos]
    for shard in shards:
        assert {partitions[id] for id in shard.ids} == {shard.partition}
        assert list(shard.ids) == sorted(shard.ids, key=order.index)
        # closed as soon as it is full, and not earlier
        assert sum(sizes[id] for id in shard.ids[:-1]) < limit
    for partition in set(partitions.values()):
        group = [shard for shard in shards if shard.partition == partition]
        assert [shard.name[-6:] for shard in group] == [f"{n:06d}" for n in range(len(group))]
        for shard in group[:-1]:
            assert sum(sizes[id] for id in shard.ids) >= limit


@given(videos, st.integers(1, 120), st.randoms(use_true_random=False))
def test_an_interrupted_export_ends_with_the_same_shards(videos, limit, random):
    shards = plan_shards(videos, limit, [])
    finished = [shard for shard in shards if random.random() < 0.5]
    done = {id for shard in finished for id in shard.ids}
    rest = plan_shards(
        [video for video in videos if video[0] not in done],
        limit,
        [shard.name for shard in finished],
    )
    assert sorted(finished + rest, key=lambda s: s.name) == sorted(shards, key=lambda s: s.name)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True))
def test_the_order_of_ids_depends_on_nothing_else(ids):
    assert order_ids(ids) == order_ids(reversed(ids))
    assert sorted(order_ids(ids)) == sorted(ids)


def test_neighbouring_ids_are_spread():
    ids = [f"v_Archery_g{n:02d}" for n in range(100)] + [f"v_Yoga_g{n:02d}" for n in range(100)]
    half = order_ids(ids)[:100]
    assert 30 < sum(id.startswith("v_Yoga") for id in half) < 70


def test_records_of_missing_or_shorter_shards_do_not_count(tmp_path):
    (tmp_path / RECORDS).mkdir()
    record = ShardRecord(name="a-000000", subsets=("a",), bytes=3, videos=(("ü/#", "ab", 5),))
    write_record(tmp_path, record)
    assert read_records(tmp_path, tmp_path, ".tar") == {}
    (tmp_path / "a-000000.tar").write_bytes(b"12")
    assert read_records(tmp_path, tmp_path, ".tar") == {}
    (tmp_path / "a-000000.tar").write_bytes(b"123")
    for name, text in (("b", "{"), ("c", "[1]"), ("d", json.dumps({"name": "d"}))):
        (tmp_path / RECORDS / f"{name}.json").write_text(text)
    assert read_records(tmp_path, tmp_path, ".tar") == {"a-000000": record}
