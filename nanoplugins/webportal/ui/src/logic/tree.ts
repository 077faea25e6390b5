// A tree as a list: every child right below its parent, one level deeper.

export interface Branch<T> {
  item: T;
  depth: number;
}

export function flattenTree<T extends { id: string; parent_id: string | null }>(items: readonly T[]): Branch<T>[] {
  const known = new Set(items.map((item) => item.id));
  const children = new Map<string | null, T[]>();
  for (const item of items) {
    // A parent that is gone leaves its children at the top.
    const parent = item.parent_id !== null && known.has(item.parent_id) ? item.parent_id : null;
    children.set(parent, [...(children.get(parent) ?? []), item]);
  }
  const below = (parent: string | null, depth: number): Branch<T>[] =>
    (children.get(parent) ?? []).flatMap((item) => [{ item, depth }, ...below(item.id, depth + 1)]);
  return below(null, 0);
}
