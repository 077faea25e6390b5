// Where the focus goes when something appears.
import { useEffect, type RefObject } from "react";

const FOCUS_MS = 50;

/** Whether somebody is in a field of the dialog already: what is typed must not land in another. */
const isInField = () => document.activeElement?.matches("[role=dialog] form *") ?? false;

/** After a dialog has taken the focus for its close button. */
export function useFocusInDialog(target: RefObject<{ focus(): void } | null>): void {
  useEffect(() => {
    const timer = window.setTimeout(() => {
      if (!isInField()) target.current?.focus();
    }, FOCUS_MS);
    return () => window.clearTimeout(timer);
  }, [target]);
}

/** To the first field that an answer complained about. */
export function useFocusInvalid(error: unknown): void {
  useEffect(() => {
    if (error) document.querySelector<HTMLElement>("#content [aria-invalid=true]")?.focus();
  }, [error]);
}

export function useFocusInvalidInDialog(error: unknown): void {
  useEffect(() => {
    if (error) document.querySelector<HTMLElement>("[role=dialog] [aria-invalid=true]")?.focus();
  }, [error]);
}

/** To a dialog's first field, after the dialog has taken the focus for its close button. */
export function useFocusFirstInDialog(): void {
  useEffect(() => {
    const first = "[role=dialog] form :is(input:not([type=hidden]), textarea, button)";
    const timer = window.setTimeout(() => {
      if (!isInField()) document.querySelector<HTMLElement>(first)?.focus();
    }, FOCUS_MS);
    return () => window.clearTimeout(timer);
  }, []);
}
