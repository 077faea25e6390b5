// What a person chose for this browser: theme, density, language, keyboard shortcuts, columns.
import { applyDensity, applyMode, Density, Mode } from "@cloudscape-design/global-styles";
import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark" | "system";

export interface Preferences {
  theme: Theme;
  density: "compact" | "comfortable";
  language: "en" | "zh-CN" | null;
  hasShortcuts: boolean;
  columns: Record<string, string[]>;
  pageSize: number;
  seenFailuresUntil: string;
}

const KEY = "nano.preferences";
const DEFAULTS: Preferences = {
  theme: "system",
  density: "compact",
  language: null,
  hasShortcuts: true,
  columns: {},
  pageSize: 25,
  seenFailuresUntil: "",
};

let current: Preferences = read();
const listeners = new Set<() => void>();
const darkQuery = window.matchMedia("(prefers-color-scheme: dark)");

function read(): Preferences {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>) };
  } catch {
    return DEFAULTS;
  }
}

export function preferences(): Preferences {
  return current;
}

export function setPreferences(change: Partial<Preferences>): void {
  current = { ...current, ...change };
  localStorage.setItem(KEY, JSON.stringify(current));
  applyLooks();
  listeners.forEach((listener) => listener());
}

export function usePreferences(): Preferences {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, preferences);
}

export function isDark(): boolean {
  return current.theme === "dark" || (current.theme === "system" && darkQuery.matches);
}

export function applyLooks(): void {
  applyMode(isDark() ? Mode.Dark : Mode.Light);
  applyDensity(current.density === "compact" ? Density.Compact : Density.Comfortable);
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
}

/** Follow the system and other tabs. */
export function watchPreferences(): void {
  darkQuery.addEventListener("change", () => setPreferences({}));
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY) return;
    current = read();
    applyLooks();
    listeners.forEach((listener) => listener());
  });
}
