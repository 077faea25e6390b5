// A list's state lives in the URL: filter, free text, sort, page, page size.

export interface Token {
  field: string;
  value: string;
}

export interface ListState {
  q: string;
  filters: Token[];
  sort: string;
  page: number;
  size: number;
}

export const PAGE_SIZES = [25, 50, 100];
const RESERVED = new Set(["q", "sort", "page", "size", "tab"]);

export function readList(search: URLSearchParams, sort: string, size: number, fields: readonly string[]): ListState {
  const filters: Token[] = [];
  for (const [field, values] of search) {
    if (RESERVED.has(field) || !fields.includes(field)) continue;
    for (const value of values.split(",")) if (value) filters.push({ field, value });
  }
  const wanted = Number(search.get("size"));
  return {
    q: search.get("q") ?? "",
    filters,
    sort: search.get("sort") ?? sort,
    page: Math.max(1, Math.trunc(Number(search.get("page"))) || 1),
    size: PAGE_SIZES.includes(wanted) ? wanted : size,
  };
}

export function groupFilters(filters: readonly Token[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const { field, value } of filters) groups.set(field, [...(groups.get(field) ?? []), value]);
  return groups;
}

/** Back into the URL, without what is the default anyway, keeping what is not ours. */
export function writeList(state: ListState, before: URLSearchParams, defaults: { sort: string; size: number }) {
  const search = new URLSearchParams();
  const tab = before.get("tab");
  if (tab) search.set("tab", tab);
  if (state.q) search.set("q", state.q);
  for (const [field, values] of groupFilters(state.filters)) search.set(field, values.join(","));
  if (state.sort !== defaults.sort) search.set("sort", state.sort);
  if (state.size !== defaults.size) search.set("size", String(state.size));
  if (state.page > 1) search.set("page", String(state.page));
  return search;
}

/** The API's query; the cursor is added by whoever knows it. */
export function apiQuery(state: ListState): URLSearchParams {
  const query = new URLSearchParams({ limit: String(state.size) });
  if (state.sort) query.set("sort", state.sort);
  if (state.q) query.set("q", state.q);
  for (const [field, values] of groupFilters(state.filters)) query.set(field, values.join(","));
  return query;
}
