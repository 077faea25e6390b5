// Names from a pattern: `web-{n}` counted up, or the name with a number behind it.

export const PATTERN_MARK = "{n}";

export function expandNames(pattern: string, count: number): string[] {
  if (count <= 1) return [pattern.replace(PATTERN_MARK, "1")];
  const template = pattern.includes(PATTERN_MARK) ? pattern : `${pattern}-${PATTERN_MARK}`;
  return Array.from({ length: count }, (_, index) => template.replace(PATTERN_MARK, String(index + 1)));
}
