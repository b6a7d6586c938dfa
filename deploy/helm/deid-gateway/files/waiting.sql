SELECT coalesce(sum(1 + CASE WHEN state = 'publishing' OR on_error = 'skip' THEN unpublished_chunks ELSE open_chunks END), 0) FROM batches WHERE state IN ('queued', 'processing', 'publishing')
