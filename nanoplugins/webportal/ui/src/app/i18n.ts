// Languages: one folder each, one file per area. Another language is another folder and a line here.
import i18next from "i18next";
import { initReactI18next } from "react-i18next";
import { preferences, setPreferences } from "./preferences";

export const LANGUAGES = { en: "English", "zh-CN": "简体中文" } as const;
export type Language = keyof typeof LANGUAGES;

type Texts = Record<string, unknown>;
const files = import.meta.glob<{ default: Texts }>("../locales/*/*.json", { eager: true });

function resources(): Record<string, Record<string, Texts>> {
  const all: Record<string, Record<string, Texts>> = {};
  for (const [path, module] of Object.entries(files)) {
    const [language, file] = path.split("/").slice(-2) as [string, string];
    (all[language] ??= {})[file.replace(".json", "")] = module.default;
  }
  return all;
}

export function preferredLanguage(): Language {
  const chosen = preferences().language;
  if (chosen) return chosen;
  return navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh")) ? "zh-CN" : "en";
}

export async function setUpLanguage(): Promise<void> {
  await i18next.use(initReactI18next).init({
    resources: resources(),
    lng: preferredLanguage(),
    fallbackLng: "en",
    defaultNS: "common",
    interpolation: { escapeValue: false },
  });
  document.documentElement.lang = i18next.language;
}

export async function setLanguage(language: Language): Promise<void> {
  setPreferences({ language });
  document.documentElement.lang = language;
  await i18next.changeLanguage(language);
}
