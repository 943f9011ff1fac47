import asyncio

import numpy as np

from rlsys.runtime.workers.parameter_server import ParameterServer, Publication
from rlsys.weights import Publications, pack, unpack


def test_arrays_survive_packing_whatever_their_type_and_shape() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "matrix": rng.normal(size=(3, 5)).astype(np.float32),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 4), np.float16),
        "transposed": rng.normal(size=(4, 2)).T,
        "bytes": rng.integers(0, 256, 13, dtype=np.uint8),
    }
    weights = unpack(pack(arrays, version=3, learner_step=17))
    assert (weights.version, weights.learner_step) == (3, 17)
    assert weights.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert weights.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(weights.arrays[name], array)


def test_every_array_is_aligned_in_the_buffer() -> None:
    packed = pack({"a": np.zeros(3, np.uint8), "b": np.zeros(5)}, 0, 0)
    assert [offset for _, _, _, offset in packed.layout] == [0, 64]


def test_server_hands_out_only_what_is_newer() -> None:
    async def check() -> None:
        server = ParameterServer()
        assert await server.pull(-1) is None
        await server.publish(Publication(2, 100, ["reference"]))
        assert await server.pull(2) is None
        newest = await server.pull(1)
        assert newest is not None
        assert newest.weights == ["reference"]

    asyncio.run(check())


def test_server_answers_who_listens_with_the_next_publication_or_not_at_all() -> None:
    async def check() -> None:
        server = ParameterServer()
        await server.publish(Publication(2, 100, ["reference"]))
        assert await server.pull(2, listening_s=0.01) is None
        listening = [asyncio.create_task(server.pull(2, listening_s=60.0)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in listening)
        await server.publish(Publication(3, 110, ["next"]))
        assert [answer.version for answer in await asyncio.gather(*listening) if answer] == [3, 3, 3]

    asyncio.run(check())


def test_server_ignores_a_publication_that_was_overtaken() -> None:
    async def check() -> None:
        server = ParameterServer()
        await server.publish(Publication(5, 100, ["new"]))
        await server.publish(Publication(4, 80, ["old"]))
        newest = await server.pull(-1)
        assert newest is not None
        assert newest.version == 5

    asyncio.run(check())


def test_publications_tell_at_which_step_each_version_was_and_go_on_from_what_was_saved() -> None:
    published = Publications()
    np.testing.assert_array_equal(published.steps_of(np.array([3])), [0])
    for version, step in ((0, 0), (1, 500), (7, 900)):
        published.add(version, step)
    again = Publications()
    again.load(published.save())
    again.add(8, 1_400)
    np.testing.assert_array_equal(again.steps_of(np.array([-1, 0, 1, 5, 7, 8, 9])), [0, 0, 500, 500, 900, 1_400, 1_400])
