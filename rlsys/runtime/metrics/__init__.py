"""What a run tells of itself: rows of metrics, where they go, and what they say about its workers."""
