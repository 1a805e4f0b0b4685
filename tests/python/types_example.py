"""Checked by mypy --strict, not run: that callers get types."""

from __future__ import annotations

import swiftlet


def titles(client: swiftlet.Client, user: str) -> list[str]:
    answer: swiftlet.RecommendResponse = client.recommend(user, k=10, include_metadata=True)
    return [item.metadata.title for item in answer.items]


async def scores(client: swiftlet.AsyncClient, user: str) -> dict[str, float]:
    answer = await client.score_items(user, item_ids=["i1"], timeout=0.05)
    return {item.item_id: item.score for item in answer.items}


def record(client: swiftlet.Client) -> int:
    with client.batcher() as events:
        events.record("u", "i", "click")
    result: swiftlet.LoadResult = client.load_events([swiftlet.event("u", "i", "view", value=1.0)])
    try:
        client.delete_user("u")
    except swiftlet.NotFound as error:
        print(error.message.upper())
    client.recommend("u")  # type: ignore[call-arg]  # k is required
    return result.num_recorded
