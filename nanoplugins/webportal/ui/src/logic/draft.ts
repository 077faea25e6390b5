// What is typed into a form, and what it means to the API. A draft holds texts and ticks only; a field's `key` is its
// path in the request, so that an error's path leads back to the field.

export type Draft = Record<string, unknown>;
export type Body = Record<string, unknown>;

export type Kind = "text" | "textarea" | "password" | "number" | "ratio" | "check" | "choice" | "choices" | "tags" | "lines";

export interface FieldSpec {
  key: string;
  kind?: Kind;
  /** What one in the form is in the API: 1024 ** 3 for GiB. */
  unit?: number;
}

export function at(value: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>((inner, key) => (inner as Body | null | undefined)?.[key], value);
}

function put(body: Body, path: string, value: unknown): void {
  const keys = path.split(".");
  const last = keys.pop() as string;
  const inner = keys.reduce<Body>((outer, key) => (outer[key] ??= {}) as Body, body);
  inner[last] = value;
}

export function parseTags(text: string): string[] {
  return [...new Set(text.split(/[,\s]+/).filter(Boolean))];
}

const parseLines = (text: string) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** A field's draft as the API takes it; `undefined` is nothing said. */
export function parse(field: FieldSpec, typed: unknown): unknown {
  const kind = field.kind ?? "text";
  if (kind === "check") return typed === true;
  if (kind === "choices") return typed as string[];
  const text = String(typed ?? "");
  if (kind === "tags") return parseTags(text);
  if (kind === "lines") return parseLines(text);
  if (kind === "number") return text.trim() === "" ? undefined : Math.round(Number(text) * (field.unit ?? 1));
  if (kind === "ratio") return text.trim() === "" ? undefined : Number(text);
  const kept = kind === "text" || kind === "choice" ? text.trim() : text;
  return kept === "" ? undefined : kept;
}

export function draftOf(fields: readonly FieldSpec[], item: unknown): Draft {
  return Object.fromEntries(fields.map((field) => [field.key, typedOf(field, at(item, field.key))]));
}

function typedOf({ kind = "text", unit = 1 }: FieldSpec, value: unknown): unknown {
  if (kind === "check") return value === true;
  if (kind === "choices") return Array.isArray(value) ? value : [];
  if (value === null || value === undefined) return "";
  if (kind === "number") return String(Number(value) / unit);
  if (kind === "tags") return (value as string[]).join(", ");
  return kind === "lines" ? (value as string[]).join("\n") : String(value);
}

/** All that was said; what was left empty or unticked is not mentioned. */
export function bodyOf(fields: readonly FieldSpec[], draft: Draft): Body {
  const body: Body = {};
  for (const field of fields) {
    const value = parse(field, draft[field.key]);
    if (value === undefined || value === false || (Array.isArray(value) && value.length === 0)) continue;
    put(body, field.key, value);
  }
  return body;
}

/** Only what differs from `before`; what was emptied is said to be empty. An inner object goes as a whole. */
export function changesOf(fields: readonly FieldSpec[], draft: Draft, before: Draft): Body {
  const same = (field: FieldSpec) => JSON.stringify(draft[field.key]) === JSON.stringify(before[field.key]);
  const groupOf = (key: string) => (key.includes(".") ? key.split(".")[0] : null);
  const groups = new Set(fields.filter((field) => !same(field)).map((field) => groupOf(field.key)));
  const body: Body = {};
  for (const field of fields) {
    const group = groupOf(field.key);
    if (same(field) && (group === null || !groups.has(group))) continue;
    const kind = field.kind ?? "text";
    put(body, field.key, parse(field, draft[field.key]) ?? (kind === "text" || kind === "textarea" ? "" : null));
  }
  return body;
}
