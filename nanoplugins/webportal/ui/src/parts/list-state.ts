// A list page's state in the URL, and the page of rows that it asks the API for.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import { useSearchParams } from "react-router";
import { getPage } from "../api/client";
import type { Page } from "../api/types";
import { preferences, setPreferences } from "../app/preferences";
import { apiQuery, readList, writeList, type ListState } from "../logic/listing";

const MAX_LIMIT = 1000;

export function useListState(defaultSort: string, fields: readonly string[]) {
  const [search, setSearch] = useSearchParams();
  const size = preferences().pageSize;
  const key = fields.join();
  const state = useMemo(
    () => readList(search, defaultSort, size, key.split(",")),
    [search, defaultSort, size, key],
  );
  const change = useCallback(
    (part: Partial<ListState>) => {
      const next = { ...state, page: 1, ...part };
      if (part.size) setPreferences({ pageSize: part.size });
      setSearch(writeList(next, search, { sort: defaultSort, size: preferences().pageSize }), {
        replace: part.page === undefined,
      });
    },
    [state, search, setSearch, defaultSort],
  );
  return [state, change] as const;
}

/** A cursor leads to the next page only; for a later one the rows before it are passed over first. */
async function cursorOf(topic: string, state: ListState, signal: AbortSignal): Promise<string | null> {
  let cursor: string | null = null;
  let left = (state.page - 1) * state.size;
  while (left > 0) {
    const query = apiQuery(state);
    const step = Math.min(left, MAX_LIMIT);
    query.set("limit", String(step));
    if (cursor) query.set("cursor", cursor);
    const page: Page<unknown> = await getPage(`/${topic}?${query}`, signal);
    cursor = page.next_cursor;
    left -= step;
    if (!cursor) break;
  }
  return cursor;
}

export function useServerPage<T>(topic: string, state: ListState) {
  return useQuery({
    queryKey: [topic, "page", apiQuery(state).toString(), state.page],
    queryFn: async ({ signal }) => {
      const query = apiQuery(state);
      const cursor = state.page > 1 ? await cursorOf(topic, state, signal) : null;
      if (cursor) query.set("cursor", cursor);
      return getPage<T>(`/${topic}?${query}`, signal);
    },
    placeholderData: keepPreviousData,
  });
}

/** Every row that matches, for export. */
export async function readAll<T>(topic: string, state: ListState): Promise<T[]> {
  const rows: T[] = [];
  let cursor: string | null = null;
  do {
    const query = apiQuery(state);
    query.set("limit", String(MAX_LIMIT));
    if (cursor) query.set("cursor", cursor);
    const page: Page<T> = await getPage<T>(`/${topic}?${query}`);
    rows.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return rows;
}
