// Shortcuts: Ctrl/⌘-K, `/`, `?`, `c`, `g` and a letter. Silent in fields, beside a console, and when switched off.
import { useEffect, useRef } from "react";
import { useNavigate } from "react-router";
import { PLACES } from "./navigation";
import { usePreferences } from "./preferences";

export type Dialog = "palette" | "help" | null;
const CHORD_MS = 1_200;

function isBusyTarget(target: EventTarget | null): boolean {
  if (!(target instanceof Element)) return false;
  // A guest that powers off takes the focus along; what its user still types is for nobody.
  if (target === document.body && document.querySelector(".nano-console")) return true;
  return target.closest("input, textarea, select, [contenteditable=true], .nano-screen, [role=dialog]") !== null;
}

function focusFilter(): void {
  document.querySelector<HTMLInputElement>("#content input[type=text], #content input[role=combobox]")?.focus();
}

export function Keyboard({ open }: { open(dialog: Dialog): void }) {
  const { hasShortcuts } = usePreferences();
  const navigate = useNavigate();
  const chordUntil = useRef(0);
  useEffect(() => {
    if (!hasShortcuts) return;
    const plain = (event: KeyboardEvent) => {
      if (performance.now() < chordUntil.current) {
        chordUntil.current = 0;
        const place = PLACES.find((candidate) => candidate.letter === event.key);
        if (place) void navigate(place.href);
        return;
      }
      if (event.key === "g") chordUntil.current = performance.now() + CHORD_MS;
      else if (event.key === "/") focusFilter();
      else if (event.key === "c") void navigate("/instances/create");
      else if (event.key === "?") open("help");
      else return;
      event.preventDefault();
    };
    const listen = (event: KeyboardEvent) => {
      const isInConsole = event.target instanceof Element && event.target.closest(".nano-screen") !== null;
      if ((event.ctrlKey || event.metaKey) && event.key === "k" && !isInConsole) {
        event.preventDefault();
        open("palette");
      } else if (!event.ctrlKey && !event.metaKey && !event.altKey && !isBusyTarget(event.target)) plain(event);
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, [hasShortcuts, navigate, open]);
  return null;
}
