// Every text is in every language, every key that the source names exists, and no text stands in the source itself.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const SOURCE = join(import.meta.dirname, "..", "src");
const LOCALES = join(SOURCE, "locales");
const LANGUAGES = readdirSync(LOCALES);
const AREAS = readdirSync(join(LOCALES, "en"));
type Texts = { [key: string]: string | Texts };

const read = (language: string, area: string) =>
  JSON.parse(readFileSync(join(LOCALES, language, area), "utf8")) as Texts;

function flat(texts: Texts, prefix = ""): [string, string][] {
  return Object.entries(texts).flatMap(([key, value]): [string, string][] =>
    typeof value === "string" ? [[prefix + key, value]] : flat(value, `${prefix}${key}.`),
  );
}

const sources = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter(
  (path) => /\.tsx?$/.test(path) && path !== "api/schema.ts",
);
const parse = (path: string) =>
  ts.createSourceFile(path, readFileSync(join(SOURCE, path), "utf8"), ts.ScriptTarget.Latest, true, ts.ScriptKind.TSX);

function each(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => each(child, visit));
}

describe.each(LANGUAGES.filter((language) => language !== "en"))("%s", (language) => {
  it("has the same areas as English", () => expect(readdirSync(join(LOCALES, language))).toEqual(AREAS));

  it.each(AREAS)("has the same keys and placeholders in %s", (area) => {
    const english = flat(read("en", area));
    const other = new Map(flat(read(language, area)));
    expect([...other.keys()].sort()).toEqual(english.map(([key]) => key).sort());
    const placeholders = (text: string) => [...text.matchAll(/{{(\w+)}}/g)].map((match) => match[1]).sort();
    for (const [key, text] of english) {
      expect(placeholders(other.get(key) ?? ""), `${area}: ${key}`).toEqual(placeholders(text));
      expect(other.get(key), `${area}: ${key}`).not.toBe("");
    }
  });
});

/** `t("area:key")`, or `t("key")` in the first area that the file's useTranslation names. */
function usedKeys(path: string): string[] {
  const used: string[] = [];
  const areas = new Set<string>();
  const file = parse(path);
  each(file, (node) => {
    if (!ts.isCallExpression(node)) return;
    const [argument] = node.arguments;
    if (node.expression.getText() === "useTranslation") {
      const named = argument ? (argument.getText().match(/"([^"]+)"/)?.[1] ?? "common") : "common";
      areas.add(named);
    }
    if (node.expression.getText() === "t" && argument && ts.isStringLiteral(argument)) used.push(argument.text);
  });
  const candidates = areas.size > 0 ? [...areas] : ["common", "shell", "instances"];
  return used.filter((key) => !isKnown(key, candidates));
}

const known = new Map(AREAS.map((area) => [area.replace(".json", ""), new Set(flat(read("en", area)).map(([key]) => key))]));

function isKnown(key: string, candidates: string[]): boolean {
  const [area, name] = key.includes(":") ? (key.split(":") as [string, string]) : [null, key];
  const places = area ? [area] : candidates;
  return places.some((place) => [name, `${name}_other`].some((form) => known.get(place)?.has(form)));
}

describe("the source", () => {
  it.each(sources)("%s names texts that exist", (path) => expect(usedKeys(path)).toEqual([]));

  it.each(sources.filter((path) => path.endsWith("x")))("%s holds no text of its own", (path) => {
    const found: string[] = [];
    const isText = (text: string) => /\p{L}{2,}/u.test(text);
    const shown = new Set(["label", "title", "header", "placeholder", "ariaLabel", "aria-label", "alt", "text"]);
    each(parse(path), (node) => {
      if (ts.isJsxText(node) && isText(node.text)) found.push(node.text.trim());
      if (ts.isJsxAttribute(node) && node.initializer && ts.isStringLiteral(node.initializer)) {
        if (shown.has(node.name.getText()) && isText(node.initializer.text)) found.push(node.initializer.text);
      }
    });
    expect(found).toEqual([]);
  });

  it.each(sources)("%s stays below 400 lines", (path) => {
    expect(readFileSync(join(SOURCE, path), "utf8").split("\n").length).toBeLessThanOrEqual(400);
  });

  it("asks nobody but the API", () => {
    for (const path of sources) {
      const text = readFileSync(join(SOURCE, path), "utf8");
      expect(text, path).not.toMatch(/["'`]https?:\/\//);
      if (!path.startsWith("api/")) expect(text, path).not.toMatch(/\bfetch\(|XMLHttpRequest/);
    }
  });
});
