// Names from a pattern: `web-#` counted up, or the name with a number behind it.

export function expandNames(pattern: string, count: number): string[] {
  if (count <= 1) return [pattern.replace("#", "1")];
  const template = pattern.includes("#") ? pattern : `${pattern}-#`;
  return Array.from({ length: count }, (_, index) => template.replace("#", String(index + 1)));
}

/** Tags as typed: separated by commas or spaces, each once. */
export function parseTags(text: string): string[] {
  return [...new Set(text.split(/[,\s]+/).filter(Boolean))];
}
